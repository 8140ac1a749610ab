// Package periodic calls functions in the background at an interval. It serves the packages of milter that write, refresh or probe
// something regularly.
package periodic

import (
	"context"
	"time"
)

// Run calls f at each interval until ctx is done. A call that takes longer than the interval delays the next one.
func Run(ctx context.Context, interval time.Duration, f func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f()
		case <-ctx.Done():
			return
		}
	}
}
