package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/cmd/milterd/internal/admin"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// safeAfter is how old a record must be that no crash may lose.
const safeAfter = time.Second

// TestKill kills daemons with embedded stores under load, again and again: a hundred times with MILTERD_TEST_REAL=1, else a
// few. What a daemon told a client more than a second before, it must know when it is back, from the same file.
func TestKill(t *testing.T) {
	// Many at the same time, since most of it is waiting.
	stores, kills := 2, 2
	if os.Getenv("MILTERD_TEST_REAL") == "1" {
		stores, kills = 5, 20 // all of them start at once: more would be too slow for the store's time limits
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("random numbers from seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	some := func(most time.Duration) time.Duration { return time.Duration(rnd.Int64N(int64(most))) }
	dns := dnstest.Start(t, daemontest.World).Addr
	var all []*victim
	for i := range stores {
		all = append(all, newVictim(t, i, dns))
	}
	for round := range kills {
		var ends []func()
		for _, v := range all {
			after := some(2 * safeAfter)
			if round == 0 {
				after = 2 * safeAfter // so that something is there
			}
			ends = append(ends, v.killUnderLoad(t, round, after))
		}
		for _, end := range ends {
			end()
		}
		for _, v := range all {
			v.Launch(t)
			if rnd.IntN(4) == 0 {
				// This one is also killed while it reads what the last one left.
				<-time.After(some(safeAfter / 5))
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
	stay, young, lost := 0, 0, 0
	for _, v := range all {
		stay, young, lost = stay+len(v.stay), young+v.young, lost+v.lost
		v.checkReply(t)
	}
	t.Logf("%d kills: %d records are there; of %d younger than %v, %d were lost", stores*kills, stay, young, safeAfter, lost)
}

// victim is a daemon that is killed, with what is known of its store.
type victim struct {
	*daemontest.Daemon
	number int
	state  string
	socket string

	mu     sync.Mutex
	told   map[string]time.Time // recipients, since when they are greylisted: in this life
	wrong  []string             // answers that should not have been
	killed time.Time

	stay        map[string]bool // recipients of what was on the disk, or old enough to be
	young, lost int             // what a crash may lose, and what it did
}

func newVictim(t *testing.T, number int, dns string) *victim {
	dir := daemontest.SocketDir(t)
	v := &victim{number: number, state: filepath.Join(dir, "state"), socket: filepath.Join(dir, "admin.sock"), stay: map[string]bool{}}
	v.Daemon = daemontest.Start(t, daemontest.Config{
		DNS: dns, Profile: "safe",
		Extra: fmt.Sprintf("admin: {listen: \"\", socket: %q}\nstore: {driver: embedded, path: %q}\n", v.socket, v.state),
	})
	return v
}

// killUnderLoad has a client try one recipient after the other, and kills the daemon in the midst of it. end waits for that.
func (v *victim) killUnderLoad(t *testing.T, round int, after time.Duration) (end func()) {
	t.Helper()
	c, err := v.Daemon.Connect("192.0.2.9")
	if err != nil {
		t.Fatal(err)
	}
	v.told = map[string]time.Time{}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer c.Close()
		const pause = 5 * time.Millisecond // all the daemons together must not be slowed down by the processor
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for i := 0; ; i++ {
			<-tick.C
			to := fmt.Sprintf("u%d-%d@mx.test", round, i)
			r, err := c.Envelope("a@none.test", to)
			if err != nil {
				return // it was killed
			}
			v.mu.Lock()
			if !strings.HasPrefix(r, "451 4.7.1 greylisted") {
				v.wrong = append(v.wrong, fmt.Sprintf("%s got %q", to, r))
			}
			v.told[to] = time.Now()
			v.mu.Unlock()
		}
	})
	wg.Go(func() {
		<-time.After(after)
		v.killed = time.Now()
		v.Kill()
	})
	return wg.Wait
}

// await waits until the daemon serves mail servers and commands.
func (v *victim) await(t *testing.T) {
	t.Helper()
	v.Daemon.Await(t)
	miltertest.Eventually(t, "the daemon answers at "+v.socket, func() bool {
		var status struct{}
		return admin.Call(context.Background(), v.socket, "status", nil, &status) == nil
	})
}

// check compares what the daemon knows with what it told before it was killed.
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
	for to, at := range v.told {
		if v.killed.Sub(at) > safeAfter {
			v.stay[to] = true
		} else if v.young++; !found[to] {
			v.lost++
		}
	}
	for to := range v.stay {
		if !found[to] {
			t.Errorf("store %d, kill %d: lost %s, told %v before", v.number, round+1, to, v.killed.Sub(v.told[to]))
		}
	}
	v.stay = found
	for _, w := range v.wrong {
		t.Errorf("store %d, kill %d: %s", v.number, round+1, w)
	}
	if moved, _ := filepath.Glob(filepath.Join(v.state, "*damaged*")); len(moved) > 0 {
		t.Errorf("store %d, kill %d: moved aside: %q", v.number, round+1, moved)
	}
	for _, e := range v.Entries(t, 0) {
		busy := e["msg"] == "store is up again" || strings.HasPrefix(e["error"], "the disk does not answer") // the machine, for a while
		if e["level"] != "info" && !busy {
			t.Errorf("store %d, kill %d: log: %v", v.number, round+1, e)
		}
	}
}

// checkReply shows that records are more than names: who was told to wait does not wait from the beginning.
func (v *victim) checkReply(t *testing.T) {
	t.Helper()
	if len(v.stay) == 0 {
		t.Errorf("store %d: nothing was written at all", v.number)
	}
	for to := range v.stay {
		r := v.MustMail(t, "192.0.2.9", "a@none.test", to, "451 4.7.1 greylisted for ", "192.0.2.9 has no reverse DNS name")
		list := daemontest.DecodeJSON[[]daemontest.Triplet](t, v.Daemon, "greylist", "list", to)
		if len(list) != 1 || list[0].Attempts != 2 {
			t.Errorf("store %d: an early retry got %q and is %+v", v.number, r, list)
		}
		return
	}
}
