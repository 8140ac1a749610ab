package checks_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
)

// maintained is a Maintainer.
type maintained struct {
	*fake
	times  []time.Time
	panics bool
}

func (d *maintained) Maintain(_ context.Context, now time.Time) {
	d.times = append(d.times, now)
	if d.panics {
		panic("in Maintain")
	}
}

func (d *maintained) Report() []checks.Condition {
	if d.panics {
		panic("in Report")
	}
	return []checks.Condition{{Name: "bl.example", State: "on"}}
}

func TestMaintain(t *testing.T) {
	t.Parallel()
	well := &maintained{fake: newFake("well", atConnect, reason("a"))}
	broken := &maintained{fake: newFake("broken", atConnect, reason("b")), panics: true}
	off := &maintained{fake: newFake("off", atConnect, reason("c"))}
	p := pipeline(t, map[string]checks.Action{"b": checks.Watch, "c": checks.Off}, nil, broken, well, off)
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	p.Maintain(t.Context(), now)
	if len(well.times) != 1 || !well.times[0].Equal(now) || len(broken.times) != 1 || len(off.times) != 0 {
		t.Errorf("maintained: well %v, broken %v, off %v", well.times, broken.times, off.times)
	}
	if got := p.Report(); len(got) != 1 || got[0].Check != "well" || got[0].Name != "bl.example" {
		t.Errorf("got %+v", got)
	}
}

// hanging is a Maintainer that hangs until its channel is closed.
type hanging struct {
	*fake
	until chan struct{}
	times atomic.Int64
}

func (h *hanging) Report() []checks.Condition { return nil }

func (h *hanging) Maintain(context.Context, time.Time) {
	h.times.Add(1)
	<-h.until
}

// TestMaintainTimeout shows that a check that hangs delays neither Maintain nor other checks.
func TestMaintainTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := &hanging{fake: newFake("broken", atConnect, reason("a")), until: make(chan struct{})}
		well := &hanging{fake: newFake("well", atConnect, reason("b")), until: make(chan struct{})}
		close(well.until)
		p := pipeline(t, nil, nil, broken, well)
		maintain := func(wantBroken, wantWell int64) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			p.Maintain(ctx, time.Now())
			if a, b := broken.times.Load(), well.times.Load(); a != wantBroken || b != wantWell {
				t.Errorf("maintained %d and %d times, want %d and %d", a, b, wantBroken, wantWell)
			}
		}
		maintain(1, 1)
		maintain(1, 2)
		close(broken.until)
		synctest.Wait()
		maintain(2, 3)
	})
}

// reloader is a Reloader that keeps the old check.
type reloader struct {
	*fake
	from checks.Check
}

func (h *reloader) Reload(old checks.Check) { h.from = old }

func TestReload(t *testing.T) {
	t.Parallel()
	old, other := newFake("one", atConnect, reason("a")), newFake("other", atConnect, reason("b"))
	before := pipeline(t, nil, nil, other, old)
	one, added := &reloader{fake: newFake("one", atConnect, reason("a"))}, &reloader{fake: newFake("new", atConnect, reason("c"))}
	pipeline(t, nil, nil, one, added).Reload(before)
	if one.from != checks.Check(old) || added.from != nil {
		t.Errorf("reloaded from %v and %v", one.from, added.from)
	}
}
