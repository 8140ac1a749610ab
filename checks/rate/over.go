package rate

import (
	"cmp"
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

// overList has the users who were over a limit lately. The zero value is empty. It is safe for concurrent use.
type overList struct {
	mu    sync.Mutex
	users map[string]overUser
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
	if o.users == nil {
		o.users = map[string]overUser{}
	}
	u, ok := o.users[s.name]
	if !ok && len(o.users) >= maxOver {
		return
	}
	if !ok {
		u.since = now
	}
	u.last, u.limit, u.times = now, l, u.times+1
	o.users[s.name] = u
}

// expire removes the users who were over a limit long ago.
func (o *overList) expire(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.users, func(_ string, u overUser) bool { return now.Sub(u.last) > overFor })
}

// conditions returns the users, by name.
func (o *overList) conditions() []checks.Condition {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []checks.Condition
	for name, u := range o.users {
		list = append(list, checks.Condition{
			Name: checks.Clean(name, 100), State: "over", Since: u.since, Counts: map[string]uint64{"recipients_over": u.times},
			Why: fmt.Sprintf("this user passed the limit of %s; if that is not the user's own mail, change the password (milterd why %s shows its clients)", u.limit, checks.Clean(name, 100)),
		})
	}
	slices.SortFunc(list, func(a, b checks.Condition) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Maintain implements checks.Maintainer.
func (c *check) Maintain(_ context.Context, now time.Time) { c.over.expire(now) }

// Report implements checks.Maintainer.
func (c *check) Report() []checks.Condition { return c.over.conditions() }

// Reload implements checks.Reloader.
func (c *check) Reload(old checks.Check) {
	if o, ok := old.(*check); ok {
		o.over.mu.Lock()
		defer o.over.mu.Unlock()
		c.over.users = maps.Clone(o.over.users)
	}
}
