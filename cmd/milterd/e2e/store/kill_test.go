package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/cmd/milterd/internal/admin"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// safeAfter is the age at which a record must be on the disk, if neither the daemon nor the disk has to wait. See victim.delay.
const safeAfter = time.Second

// busyDisk matches the errors that a daemon logs on a loaded machine.
var busyDisk = regexp.MustCompile("the disk does not answer|no answer at the start")

// TestKill kills daemons with embedded stores under load, a hundred times with MILTERD_TEST_REAL=1 and a few times without.
// A record older than safeAfter must be there when the daemon has restarted.
func TestKill(t *testing.T) {
	stores, kills := 1, 2
	if os.Getenv("MILTERD_TEST_REAL") == "1" {
		stores, kills = 5, 10 // the stores open at the same time: more of them would exceed the time limit of the store
	}
	for _, group := range []string{"first group", "second group"} {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			testKills(t, stores, kills)
		})
	}
}

// testKills kills each of several daemons some times.
func testKills(t *testing.T, stores, kills int) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("random seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	random := func(most time.Duration) time.Duration { return time.Duration(rnd.Int64N(int64(most))) }
	dns := dnstest.Start(t, daemontest.World).Addr
	// The race detector would make the daemons slow, and few records would be young at a kill.
	program, err := daemontest.BuildWithoutRace()
	if err != nil {
		t.Fatal(err)
	}
	var all []*victim
	for i := range stores {
		all = append(all, newVictim(t, program, i, dns))
	}
	for round := range kills {
		var ends []func()
		for _, v := range all {
			after := random(2 * safeAfter)
			if round == 0 {
				after = 2 * safeAfter // so that there are records
			}
			ends = append(ends, v.killUnderLoad(t, round, after))
		}
		for _, end := range ends {
			end()
		}
		for _, v := range all {
			v.Launch(t)
			if rnd.IntN(4) == 0 {
				// Killed again while it recovers.
				<-time.After(random(safeAfter / 5))
				v.Kill()
				v.Launch(t)
			}
		}
		for _, v := range all {
			v.await(t)
			v.check(t, round)
		}
		if t.Failed() {
			return
		}
	}
	kept, young, lost := 0, 0, 0
	for _, v := range all {
		kept, young, lost = kept+len(v.kept), young+v.young, lost+v.lost
		v.checkReply(t)
	}
	t.Logf("%d kills: %d records kept; %d of %d records younger than %v lost", stores*kills, kept, lost, young, safeAfter)
}

// victim is a daemon that is killed, with what its store must have.
type victim struct {
	*daemontest.Daemon
	number int
	state  string
	socket string

	greylisted map[string]time.Time // since the last start: recipients, with the time of the reply
	killed     time.Time
	delay      time.Duration // the slowest reply and the slowest write to the disk since the last start

	kept        map[string]bool // recipients whose records were on the disk, or are older than safeAfter
	young, lost int             // number of records younger than safeAfter at a kill, and of those lost
}

func newVictim(t *testing.T, program string, number int, dns string) *victim {
	dir := daemontest.SocketDir(t)
	v := &victim{number: number, state: filepath.Join(dir, "state"), socket: filepath.Join(dir, "admin.sock"), kept: map[string]bool{}}
	v.Daemon = daemontest.New(t, daemontest.Config{
		DNS: dns, Profile: "safe",
		Extra: fmt.Sprintf("admin: {listen: \"\", socket: %q}\nstore: {driver: embedded, path: %q}\n", v.socket, v.state),
	})
	v.Program = program
	v.Launch(t)
	v.Await(t)
	return v
}

// killUnderLoad tries one recipient after the other, and kills the daemon after some time. It returns at once; end waits
// until the daemon is killed.
func (v *victim) killUnderLoad(t *testing.T, round int, after time.Duration) (end func()) {
	t.Helper()
	c, err := v.Daemon.Connect("192.0.2.9")
	if err != nil {
		t.Fatal(err)
	}
	v.greylisted = map[string]time.Time{}
	var slowestReply, slowestWrite time.Duration
	var wrong []string // unexpected replies
	var wg sync.WaitGroup
	wg.Go(func() {
		defer c.Close()
		const pause = 10 * time.Millisecond // leaves the processor time for the other daemons
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for i := 0; ; i++ {
			<-tick.C
			to, began := fmt.Sprintf("u%d-%d@mx.test", round, i), time.Now()
			r, err := c.Envelope("a@none.test", to)
			if err != nil {
				return // the daemon was killed
			}
			if strings.HasPrefix(r, "451 4.7.1 greylisted") {
				v.greylisted[to] = time.Now()
			} else {
				wrong = append(wrong, fmt.Sprintf("%s got %q", to, r))
			}
			slowestReply = max(slowestReply, time.Since(began))
		}
	})
	wg.Go(func() {
		for began := time.Now(); time.Since(began) < after; {
			const pause = safeAfter / 10
			<-time.After(min(pause, after-time.Since(began)))
			slowestWrite = max(slowestWrite, writeTime(t, filepath.Dir(v.socket)))
		}
		v.killed = time.Now()
		v.Kill()
	})
	return func() {
		wg.Wait()
		v.delay = slowestReply + slowestWrite
		if len(wrong) > 0 && !busyDisk.MatchString(v.Output()) {
			t.Errorf("store %d, kill %d: %s", v.number, round+1, wrong)
		}
	}
}

// writeTime writes to a disk, and returns the time that it took.
func writeTime(t *testing.T, dir string) time.Duration {
	t.Helper()
	began := time.Now()
	f, err := os.CreateTemp(dir, "probe")
	if err != nil {
		t.Error(err)
		return 0
	}
	_, err = f.WriteString("probe")
	if err := errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name())); err != nil {
		t.Error(err)
	}
	return time.Since(began)
}

// await waits until the daemon accepts connections at its listener and its admin socket.
func (v *victim) await(t *testing.T) {
	t.Helper()
	v.Daemon.Await(t)
	miltertest.Eventually(t, "the daemon answers at "+v.socket, func() bool {
		var status struct{}
		return admin.Call(context.Background(), v.socket, "status", nil, &status) == nil
	})
}

// check tests that the records of the store are there after a kill.
func (v *victim) check(t *testing.T, round int) {
	t.Helper()
	var list []daemontest.Triplet
	miltertest.Eventually(t, fmt.Sprintf("store %d reads its disk after kill %d", v.number, round+1), func() bool {
		return admin.Call(context.Background(), v.socket, "greylist/list", map[string]any{}, &list) == nil
	})
	found := map[string]bool{}
	for _, tr := range list {
		found[tr.To] = true
	}
	for to, at := range v.greylisted {
		if v.killed.Sub(at) > safeAfter+v.delay {
			v.kept[to] = true
		} else if v.young++; !found[to] {
			v.lost++
		}
	}
	for to := range v.kept {
		if !found[to] {
			t.Errorf("store %d, kill %d: lost %s, which was %v old", v.number, round+1, to, v.killed.Sub(v.greylisted[to]))
		}
	}
	v.kept = found
	if moved, _ := filepath.Glob(filepath.Join(v.state, "*damaged*")); len(moved) > 0 {
		t.Errorf("store %d, kill %d: files were found damaged: %q", v.number, round+1, moved)
	}
	for _, e := range v.Entries(t, 0) {
		busy := e["msg"] == "store is up again" || busyDisk.MatchString(e["error"])
		if e["level"] != "info" && !busy {
			t.Errorf("store %d, kill %d: log: %v", v.number, round+1, e)
		}
	}
}

// checkReply tests that the content of a record is there: the delay does not begin again.
func (v *victim) checkReply(t *testing.T) {
	t.Helper()
	if len(v.kept) == 0 {
		t.Errorf("store %d: no record was kept", v.number)
	}
	for to := range v.kept {
		r := v.MustRefuse(t, "192.0.2.9", "a@none.test", to, "451 4.7.1 greylisted for ", "192.0.2.9 has no reverse DNS name")
		list := daemontest.DecodeJSON[[]daemontest.Triplet](t, v.Daemon, "greylist", "list", to)
		if len(list) != 1 || list[0].Attempts != 2 {
			t.Errorf("store %d: an early retry got %q and is %+v", v.number, r, list)
		}
		return
	}
}
