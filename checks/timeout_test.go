package checks_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
)

// TestWithTimeout compares WithTimeout with context.WithTimeout after the same steps.
func TestWithTimeout(t *testing.T) {
	type contexts struct {
		ctx                  context.Context
		cancel, cancelParent context.CancelFunc
	}
	wait := func(c contexts) { <-c.ctx.Done() }
	look := func(c contexts) { _ = c.ctx.Err() }
	past := func(contexts) { time.Sleep(2 * time.Second) }
	cancel := func(c contexts) { c.cancel() }
	cancelParent := func(c contexts) { c.cancelParent() }
	tests := map[string][]func(contexts){
		"not ended":                               {},
		"after the deadline":                      {past},
		"after a wait":                            {wait},
		"canceled":                                {cancel},
		"canceled, then after the deadline":       {cancel, past},
		"after the deadline, then canceled":       {past, cancel},
		"parent canceled":                         {cancelParent},
		"parent canceled, then the deadline":      {cancelParent, past},
		"the deadline seen, then parent":          {past, look, cancelParent},
		"canceled, then parent":                   {cancel, cancelParent},
		"canceled after a wait":                   {wait, cancel},
		"canceled twice":                          {cancel, cancel},
		"a wait after the deadline, and a cancel": {past, wait, cancel},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				run := func(f func(context.Context, time.Duration) (context.Context, context.CancelFunc)) (error, bool) {
					parent, cancelParent := context.WithCancel(t.Context())
					defer cancelParent()
					ctx, cancel := f(parent, time.Second)
					defer cancel()
					for _, step := range steps {
						step(contexts{ctx, cancel, cancelParent})
					}
					err := ctx.Err()
					synctest.Wait()
					select {
					case <-ctx.Done():
						return err, true
					default:
						return err, false
					}
				}
				wantErr, wantDone := run(context.WithTimeout)
				if err, done := run(checks.WithTimeout); err != wantErr || done != wantDone {
					t.Errorf("%v, done %v; context.WithTimeout: %v, done %v", err, done, wantErr, wantDone)
				}
			})
		})
	}
}

// TestWithTimeoutOfParent tests that where the deadline of the parent is the earlier one, the context ends after its parent and not
// before it: the parent's error tells whose time is over.
func TestWithTimeoutOfParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 100 { // the order of timers at one time is random
			parent, cancelParent := context.WithTimeout(t.Context(), time.Second)
			ctx, cancel := checks.WithTimeout(parent, time.Hour)
			<-ctx.Done()
			if err := parent.Err(); err != context.DeadlineExceeded {
				t.Errorf("error of the parent: %v, want %v", err, context.DeadlineExceeded)
			}
			cancel()
			cancelParent()
		}
	})
}

// TestWithTimeoutChild tests that contexts derived from one of WithTimeout end with it.
func TestWithTimeoutChild(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		parent := context.WithValue(t.Context(), key{}, "value")
		outer, cancel := checks.WithTimeout(parent, time.Second)
		defer cancel()
		inner, cancelInner := checks.WithTimeout(outer, time.Hour)
		defer cancelInner()
		child, cancelChild := context.WithCancel(inner)
		defer cancelChild()
		for _, ctx := range []context.Context{outer, inner, child} {
			if end, ok := ctx.Deadline(); !ok || time.Until(end) != time.Second {
				t.Errorf("deadline in %v, want that of the outermost, 1s", time.Until(end))
			}
			if v := ctx.Value(key{}); v != "value" {
				t.Errorf("value %v", v)
			}
		}
		<-child.Done()
		if err := child.Err(); err != context.DeadlineExceeded {
			t.Errorf("error of the child: %v, want %v", err, context.DeadlineExceeded)
		}
	})
}
