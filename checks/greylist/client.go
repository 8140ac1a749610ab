package greylist

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
)

const (
	// clientKey begins the record of a client identity that has passed; the identity follows.
	clientKey = "greylist:client:"
	// countKey begins the lock of a count: of the daemons that would count a pass as the fifth, one does.
	countKey = "greylist:count:"
	// countEvery is how long after a counted pass the next one counts.
	countEvery = time.Hour
	// allowFor is how long the operator's word holds: until it is taken back.
	allowFor = 10 * 365 * 24 * time.Hour
)

// clientRecord is a client identity in the store. Times are seconds since 1970.
type clientRecord struct {
	Passes  int    `json:"n"`
	Counted int64  `json:"counted"` // the last of them
	Used    int64  `json:"used"`    // the last message that came through
	Client  string `json:"client,omitempty"`
	Allowed bool   `json:"allowed,omitempty"` // by the operator
}

// names lists under which a client may be allowed, that which counts its passes first.
func names(who facts.Identity, client netip.Addr) []string {
	list := []string{who.Narrow(), who.Domain}
	if who.Network.IsValid() {
		list = append(list, facts.Identity{Network: who.Network}.String(), client.WithZone("").String())
	}
	list = slices.DeleteFunc(list, func(n string) bool { return n == "" })
	return slices.Compact(list)
}

// allowed tells whether a client waits no more: it has passed often enough, or the operator says so.
func (c *check) allowed(ctx context.Context, s *checks.Request, who facts.Identity) (bool, error) {
	now := s.Time
	for i, name := range names(who, s.Client) {
		r, ok, err := load[clientRecord](ctx, c.env.Store, clientKey+name)
		if err != nil {
			return false, err
		}
		often := i == 0 && c.AutoAllow > 0 && r.Passes >= c.AutoAllow && now.Unix()-r.Used < seconds(c.Keep)
		if ok && (r.Allowed || often) {
			return true, nil
		}
	}
	return false, nil
}

// count notes that a client passed by waiting, or was let through because it had. Many daemons may do so at once.
func (c *check) count(ctx context.Context, s *checks.Request, d *delivery) error {
	name := d.who.Narrow()
	if name == "" || c.AutoAllow == 0 {
		return nil
	}
	now := s.Time.Unix()
	r, _, err := load[clientRecord](ctx, c.env.Store, clientKey+name)
	if err != nil {
		return err
	}
	if now-r.Used >= seconds(c.Keep) {
		r.Passes = 0
	}
	since := now - r.Counted // under 0: counted by a clock that was wrong
	counts := d.waited && r.Passes < c.AutoAllow && (r.Passes == 0 || since >= seconds(countEvery) || since < -seconds(skew))
	if counts {
		// The lock names the count, so that who is late with the same one is too late. It ends by itself: a daemon that dies
		// before the next line delays the count, and does not end it.
		counts, err = c.env.Store.PutNew(ctx, countKey+name+" "+strconv.Itoa(r.Passes+1), []byte{1}, countEvery)
		if err != nil {
			return err
		}
	}
	switch {
	case counts:
		r.Passes++
		r.Counted = now
	case r.Passes == 0 || r.Allowed || isFresh(r.Used, s.Time):
		return nil
	}
	r.Used, r.Client = now, s.Client.String()
	ttl := c.Keep
	if r.Allowed {
		ttl = allowFor
	}
	return save(ctx, c.env.Store, clientKey+name, r, ttl)
}

// Observe implements checks.Observer: what came through is known from then on. On a session that is trusted nothing was
// looked up, so nothing is noted.
func (c *check) Observe(ctx context.Context, s *checks.Request, e checks.Event) {
	if e.Kind != checks.Accepted {
		return
	}
	counted := false
	for _, d := range transactionOf(s).deliveries {
		if d.index >= len(s.Envelope.Rcpts) || s.Envelope.Rcpts[d.index].Refused != "" {
			continue
		}
		suspected := len(s.Suspicions(d.index)) > 0
		err := c.pass(ctx, s.Time, d)
		if err == nil && suspected && (d.waited || d.free) && !counted {
			counted = true
			err = c.count(ctx, s, d)
		}
		if err != nil {
			// The next message of this sender may have to wait, or wait again. A store that failed once is not asked for
			// the other recipients.
			c.env.Log.WithFields(s.LogFields()).WithError(err).Warn("could not note that a message passed greylisting")
			return
		}
	}
}
