package faults

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/cmd/milterd/internal/hostclock"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
	"milterd/milter/store/redistest"
)

// TestSoak applies faults to daemons under load, one after the other in random order. One daemon has an embedded store on a small
// disk, the other a Redis, and each has a Postfix in front. MILTERD_TEST_SOAK=10m repeats the faults for that long.
func TestSoak(t *testing.T) {
	miltertest.Require(t)
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		site := miltertest.NewSite(t, hostsZone())
		disk := filepath.Join(site.Dir, "state")
		if err := os.Mkdir(disk, 0o755); err != nil {
			t.Fatal(err)
		}
		// In an hour, the records alone would fill the disk.
		c := soakConfig(t, site, fmt.Sprintf("records: {max: 20000}\nstore: {driver: embedded, path: %q}\n", filepath.Join(disk, "milterd")))
		s := startSoak(t, site, c, "/bin/sh", "-c", `mount -t tmpfs -o size=160m state "$0" && exec "$@"`, disk)
		s.run(t, slices.Concat(faultsAround(site), clockFaults(), []fault{reloads(c), fullDisk(disk), readOnlyDisk(disk)}))
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		site, redis := miltertest.NewSite(t, hostsZone()), redistest.Start(t)
		proxy := redistest.NewProxy(t, redis)
		s := startSoak(t, site, soakConfig(t, site, fmt.Sprintf("store: {driver: redis, url: \"redis://%s\"}\n", proxy.Addr)))
		s.run(t, append(clockFaults(), redisFaults(site, redis, proxy)...))
	})
}

// redisFaults are the faults of a Redis, alone and together with others.
func redisFaults(site *miltertest.Site, redis *redistest.Server, proxy *redistest.Proxy) []fault {
	down := func(t *testing.T, s *soak) bool {
		status, text := daemontest.Get(t, s.admin+"/readyz")
		return status == 503 && strings.Contains(text, "the store is down")
	}
	return []fault{
		{name: "a stalled Redis", effective: down, begin: func(*testing.T, *soak) func() { redis.Freeze(); return redis.Thaw }},
		{name: "a stopped Redis", effective: down, begin: func(*testing.T, *soak) func() { redis.Stop(); return redis.Start }},
		{name: "a Redis out of reach", effective: down, begin: func(*testing.T, *soak) func() {
			proxy.Set(redistest.Cut)
			return func() { proxy.Set(redistest.Pass) }
		}},
		{name: "a stalled Redis and a dead DNS", effective: down, begin: func(*testing.T, *soak) func() {
			redis.Freeze()
			site.DNS.Behave(dnstest.Dead)
			return func() { redis.Thaw(); site.DNS.Behave() }
		}},
		{name: "a clock that jumps all the time and a dead DNS", effective: wrongReply, begin: func(t *testing.T, s *soak) func() {
			stop := jumpingClock(t, s)
			site.DNS.Behave(dnstest.Dead)
			return func() { site.DNS.Behave(); stop() }
		}},
	}
}

// soakConfig is a strict configuration, without the reasons whose replies cannot be predicted: they depend on earlier mail, or
// refuse at the end of the message what another reason refuses at MAIL unless the DNS fails there.
// Every fourth host was on the deny list until the day before yesterday.
func soakConfig(t *testing.T, site *miltertest.Site, extra string) daemontest.Config {
	t.Helper()
	deny := filepath.Join(site.Dir, "deny")
	entry := "198.51.0.0/18 until=" + time.Now().AddDate(0, 0, -2).UTC().Format(time.DateOnly) + "\n"
	if err := os.WriteFile(deny, []byte(entry), 0o644); err != nil {
		t.Fatal(err)
	}
	return daemontest.Config{
		DNS: site.DNS.Addr, Syslog: "mail", Profile: "strict",
		Actions: map[string]string{"first-contact": "off", "too-many-errors": "off", "sender-history": "off", "auth-none": "off"},
		Extra:   fmt.Sprintf("budget: %v\nchecks: {access: {deny: [%q]}}\n", soakBudget, deny) + extra,
	}
}

// startSoak runs a daemon in a site, with a clock that the test can move. The arguments before are a command that executes
// the daemon.
func startSoak(t *testing.T, site *miltertest.Site, c daemontest.Config, before ...string) *soak {
	t.Helper()
	bin, err := buildWithClock()
	if err != nil {
		t.Fatal(err)
	}
	host := miltertest.Loopback()
	postfix := site.Postfix(t)
	d := &daemontest.Daemon{Listener: "inet:7525@" + host, File: filepath.Join(site.Dir, "milterd.yaml")}
	d.Listen = []string{strconv.Quote(d.Listener), fmt.Sprintf(`{socket: %q, mode: "%#o", group: postfix}`, postfix.Milter, uint32(daemontest.SocketMode))}
	d.Configure(t, withListeners(d, c))
	args := append(before, bin, "serve", "-c", d.File)
	clockFile := filepath.Join(site.Dir, "clock")
	clock := newClock(t, clockFile)
	cmd := site.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), hostclock.Variable+"="+clockFile)
	d.Process = miltertest.StartProcess(t, cmd)
	d.Lines = daemontest.LinesIn(site)
	d.Await(t)
	return &soak{
		Daemon: d, admin: "http://" + host + ":8893", clock: clock,
		replies: map[string]int{}, unexpected: map[string]bool{}, ids: map[string]bool{},
		relay: &relay{MTA: postfix, replies: map[string]int{}, unexpected: map[string]bool{}},
	}
}

// withListeners adds the listeners of a daemon to a configuration.
func withListeners(d *daemontest.Daemon, c daemontest.Config) daemontest.Config {
	_, host, _ := strings.Cut(d.Listener, "@")
	c.Listen = d.Listen
	c.Extra += fmt.Sprintf("admin: {listen: \"%s:8893\", socket: \"\"}\n", host)
	return c
}

// fault is something that fails and recovers.
type fault struct {
	name  string
	begin func(t *testing.T, s *soak) (end func())
	// effective reports whether the daemon has noticed the fault. If it is nil, the daemon need not notice.
	effective func(t *testing.T, s *soak) bool
}

// run applies all faults, again and again if MILTERD_TEST_SOAK is set. At the end every reply must be in the log, except
// for lines that the daemon counts as dropped, no file, goroutine or memory may be left behind, and Postfix must have
// delivered what it accepted.
func (s *soak) run(t *testing.T, faults []fault) {
	var duration time.Duration
	if text := os.Getenv("MILTERD_TEST_SOAK"); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatalf("MILTERD_TEST_SOAK: %v", err)
		}
	}
	s.awaitHealthy(t, "at the beginning")
	stop, stopRelay := s.load(t), s.relay.load(t)
	defer stopRelay()
	miltertest.Eventually(t, "the daemon filters mail", func() bool { return s.sent() > 200 })
	s.verify(t)
	files, goroutines := openFiles(t, s.Daemon), s.metric(t, "go_goroutines")
	var heaps []int // least bytes in each round, which are about those in use after a collection
	for began := time.Now(); ; {
		rand.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
		least := math.MaxInt
		for _, f := range faults {
			s.apply(t, f)
			if t.Failed() {
				return
			}
			least = min(least, int(s.metric(t, "go_memstats_heap_alloc_bytes")))
		}
		heaps = append(heaps, least)
		if time.Since(began) > duration {
			break
		}
	}
	stop()
	stopRelay()
	s.relay.awaitDelivery(t)
	checkHeaps(t, heaps)
	awaitFiles(t, s.Daemon, files)
	miltertest.Eventually(t, "goroutines of the load have ended", func() bool { return s.metric(t, "go_goroutines") <= goroutines })
	miltertest.Eventually(t, "every reply is in the log", func() bool {
		return len(s.unlogged(t)) <= int(s.metric(t, "milterd_log_dropped_total"))
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Logf("%d replies, the slowest after %v: %v", len(s.ids), s.slowest, s.replies)
}

// checkHeaps fails the test if the heap of the last third of the rounds is much larger than that of the third before. In the first
// rounds caches and queues fill.
func checkHeaps(t *testing.T, heaps []int) {
	t.Helper()
	t.Logf("least bytes of heap in each round: %d", heaps)
	const leeway, enough = 64 << 20, 9 // rounds
	if n := len(heaps); n >= enough {
		if before, last := slices.Max(heaps[n/3:n*2/3]), slices.Max(heaps[n*2/3:]); last > before*3/2+leeway {
			t.Errorf("the heap has grown from %d to %d bytes", before, last)
		}
	}
}

// apply begins a fault, waits until it is effective and until more messages have replies, ends the fault, and waits until
// the daemon is healthy.
func (s *soak) apply(t *testing.T, f fault) {
	t.Helper()
	const more = 60
	began, before := time.Now(), s.sent()
	end := sync.OnceFunc(f.begin(t, s))
	defer end()
	if t.Failed() {
		return
	}
	if f.effective != nil {
		// The embedded store notices a full disk when its log needs another file, after a thousand messages or so.
		for !f.effective(t, s) {
			if time.Since(began) > 10*miltertest.WaitTimeout {
				t.Fatalf("%s: not effective after %v", f.name, time.Since(began))
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	effective, until := time.Since(began), s.sent()+more
	miltertest.Eventually(t, "messages get replies during "+f.name, func() bool { return s.sent() >= until })
	end()
	ended := time.Now()
	s.awaitHealthy(t, "after "+f.name)
	t.Logf("%s: effective after %v, %d replies, healthy %v after its end",
		f.name, effective.Round(time.Millisecond), s.sent()-before, time.Since(ended).Round(time.Millisecond))
	s.verify(t)
	s.relay.verify(t)
}
