package rate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"milterd/checks"
)

const (
	// overFor is how long a user who was over a limit is reported: until the postmaster has seen it in the morning.
	overFor = 24 * time.Hour
	// maxOver is the number of users that are reported.
	maxOver = 100
)

// overList has the users who were over a limit lately. It is safe for concurrent use.
type overList struct {
	mu    sync.Mutex
	users map[string]overUser // by name
}

type overUser struct {
	since, last time.Time
	limit       limit
	times       uint64 // recipients that were over the limit
}

// add adds a user. Networks and domains are not reported: they have no password that the operator could change.
func (o *overList) add(s subject, l limit, now time.Time) {
	if s.reason != userRate {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	u, ok := o.users[s.name]
	if !ok {
		if len(o.users) >= maxOver {
			return
		}
		u.since = now
	}
	u.last, u.limit, u.times = now, l, u.times+1
	o.users[s.name] = u
}

// Maintain implements checks.Maintainer. It removes the users who were over a limit long ago.
func (c *check) Maintain(_ context.Context, now time.Time) {
	c.over.mu.Lock()
	defer c.over.mu.Unlock()
	maps.DeleteFunc(c.over.users, func(_ string, u overUser) bool { return now.Sub(u.last) > overFor })
}

// Report implements checks.Maintainer. It returns the users who were over a limit.
func (c *check) Report() []checks.Condition {
	c.over.mu.Lock()
	defer c.over.mu.Unlock()
	var list []checks.Condition
	for _, name := range slices.Sorted(maps.Keys(c.over.users)) {
		u, shown := c.over.users[name], checks.Clean(name, 100)
		list = append(list, checks.Condition{
			Name: shown, State: "over", Since: u.since, Counts: map[string]uint64{"recipients_over": u.times},
			Why: fmt.Sprintf("this user passed the limit of %s; if that is not the user's own mail, change the password (milterd why %s shows its clients)", u.limit, shown),
		})
	}
	return list
}

// Reload implements checks.Reloader.
func (c *check) Reload(old checks.Check) {
	if o, ok := old.(*check); ok {
		o.over.mu.Lock()
		defer o.over.mu.Unlock()
		c.over.users = maps.Clone(o.over.users)
	}
}
