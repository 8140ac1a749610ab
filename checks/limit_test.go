package checks_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
)

// TestWithin compares a limited context with one of the standard library at the same moments.
func TestWithin(t *testing.T) {
	t.Parallel()
	const limit = time.Second
	for _, c := range []struct {
		name   string
		parent func() (context.Context, context.CancelFunc)
		wait   bool          // somebody waits from the beginning
		after  time.Duration // when it is looked at
		end    bool          // before that
	}{
		{name: "at the beginning"},
		{name: "before the end", after: limit - 1},
		{name: "at the end", after: limit},
		{name: "at the end, waited for", after: limit, wait: true},
		{name: "ended", end: true},
		{name: "ended, waited for", end: true, wait: true},
		{name: "a parent that is shorter", parent: func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), limit/2)
		}, after: limit / 2},
		{name: "a parent that is shorter, waited for", parent: func() (context.Context, context.CancelFunc) {
			return checks.Within(context.Background(), limit/2)
		}, after: limit / 2, wait: true},
		{name: "a parent that has ended", parent: func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return ctx, cancel
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parent, stop := context.Background(), context.CancelFunc(func() {})
				if c.parent != nil {
					parent, stop = c.parent()
				}
				defer stop()
				want, cancelWant := context.WithTimeout(parent, limit)
				got, cancelGot := checks.Within(parent, limit)
				defer cancelWant()
				defer cancelGot()
				var child context.Context = got
				if c.wait {
					var cancel context.CancelFunc
					child, cancel = context.WithCancel(got)
					defer cancel()
				}
				time.Sleep(c.after)
				if c.end {
					cancelWant()
					cancelGot()
				}
				synctest.Wait()
				if !errors.Is(got.Err(), want.Err()) || !errors.Is(child.Err(), want.Err()) {
					t.Errorf("got %v and %v, want %v", got.Err(), child.Err(), want.Err())
				}
				if closed(got) != closed(want) || closed(child) != closed(want) {
					t.Errorf("done: %v and %v, want %v", closed(got), closed(child), closed(want))
				}
				gotAt, _ := got.Deadline()
				if wantAt, ok := want.Deadline(); !ok || !gotAt.Equal(wantAt) {
					t.Errorf("deadline: got %v, want %v", gotAt, wantAt)
				}
			})
		})
	}
}

func closed(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	default:
		return false
	}
}
