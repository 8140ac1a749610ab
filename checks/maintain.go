package checks

import (
	"context"
	"sync"
	"time"
)

// Maintain calls Maintain of all checks concurrently. It returns when all have returned or ctx is done. If a check hangs,
// such as on a file on a failing disk, later calls skip that check until it has returned.
func (p *Pipeline) Maintain(ctx context.Context, now time.Time) {
	var wg sync.WaitGroup
	for i, m := range p.maintainers {
		if !p.maintaining[i].CompareAndSwap(false, true) {
			continue
		}
		wg.Go(func() {
			defer p.maintaining[i].Store(false)
			contain(func() { m.check.Maintain(ctx, now) })
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// Reload passes the checks of a former Pipeline to the checks of p that implement Reloader. It is called before the first Maintain.
func (p *Pipeline) Reload(old *Pipeline) {
	for _, inst := range p.instances {
		r, ok := inst.Check.(Reloader)
		if before := old.Check(inst.Info.Name); ok && before != nil {
			contain(func() { r.Reload(before) })
		}
	}
}

// Report returns the state of what the checks depend on.
func (p *Pipeline) Report() []Condition {
	list := []Condition{}
	each(p.maintainers, func(check string, m Maintainer) {
		for _, c := range m.Report() {
			c.Check = check
			list = append(list, c)
		}
	})
	return list
}
