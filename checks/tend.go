package checks

import (
	"context"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// Tend has the checks do what is due beside the sessions, all at once, and returns when that is done or the context is. A check that
// is not done then, as its file is on a disk that hangs, is left alone by the next call until it is. It must not run twice at the
// same time.
func (p *Pipeline) Tend(ctx context.Context, now time.Time) {
	var wg sync.WaitGroup
	for i, inst := range p.instances {
		t, ok := inst.Check.(Tender)
		if !ok || !p.asked(i) || !p.tending[i].CompareAndSwap(false, true) {
			continue
		}
		wg.Go(func() {
			defer p.tending[i].Store(false)
			contain(func() { t.Tend(ctx, now) })
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// Inherit has the checks take over what those of another pipeline know. It is called before the first Tend.
func (p *Pipeline) Inherit(old *Pipeline) {
	for _, inst := range p.instances {
		h, ok := inst.Check.(Heir)
		if !ok {
			continue
		}
		for _, o := range old.instances {
			if o.Info.Name == inst.Info.Name {
				contain(func() { h.Inherit(o.Check) })
			}
		}
	}
}

// Report tells how the outside things do that the checks depend on.
func (p *Pipeline) Report() []Condition {
	list := []Condition{}
	for i, inst := range p.instances {
		r, ok := inst.Check.(Reporter)
		if !ok || !p.asked(i) {
			continue
		}
		contain(func() {
			for _, c := range r.Report() {
				c.Check = inst.Info.Name
				list = append(list, c)
			}
		})
	}
	return list
}

// contain contains a panic: what a check does beside its verdicts is nothing that mail should suffer for.
func contain(f func()) {
	defer func() {
		if r := recover(); r != nil {
			logrus.WithField("stack", string(debug.Stack())).Errorf("panic of a check beside its verdicts: %v", r)
		}
	}()
	f()
}
