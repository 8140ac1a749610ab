// Package periodic calls functions in the background at an interval. It serves the packages of milter that write, refresh or probe
// something regularly.
package periodic

import (
	"context"
	"time"
)

// Run calls f at once and at each interval until ctx is done. The context of a call also ends after timeout. A call that takes
// longer than the interval delays the next one.
func Run(ctx context.Context, interval, timeout time.Duration, f func(context.Context)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		each, cancel := context.WithTimeout(ctx, timeout)
		f(each)
		cancel()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}
