package greylist

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
)

// clientPrefix begins the key of a clientRecord. The name of the client follows, see clientNames.
const clientPrefix = "greylist:client:"

const (
	// countInterval is how long after a counted pass the next one counts. Without it, the retries of five messages that were sent at
	// one time would allow a client.
	countInterval = time.Hour
	// allowFor is how long an entry of the operator lasts: until it is removed.
	allowFor = 10 * 365 * 24 * time.Hour
)

// clientRecord is a client in the store. Times are in Unix seconds.
type clientRecord struct {
	Passes  int    `json:"n"`       // at most Settings.AutoAllow
	Counted int64  `json:"counted"` // last pass that counted
	Used    int64  `json:"used"`    // last message that was accepted
	Client  string `json:"client,omitempty"`
	Allowed bool   `json:"allowed,omitempty"` // by the operator
}

// passName returns the name under which the passes of a client are counted: its domain, if it has one, and its network. The domain alone
// is not enough, even if SPF shows it: a spammer can have SPF pass for a botnet.
func passName(identity facts.Identity) string {
	if !identity.Network.IsValid() {
		return ""
	}
	return strings.TrimLeft(identity.Domain+" "+identity.NetworkName(), " ")
}

// clientNames returns the names under which a client may have a record, first the one that counts its passes.
func clientNames(identity facts.Identity, client netip.Addr) []string {
	names := []string{passName(identity), identity.Domain}
	if identity.Network.IsValid() {
		names = append(names, identity.NetworkName(), client.WithZone("").String())
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == "" })
	return slices.Compact(names)
}

// allowance returns why a client need not wait, because it passed often enough or the operator allowed it, or "".
func (c *check) allowance(ctx context.Context, r *checks.Request, identity facts.Identity) (string, error) {
	for i, name := range clientNames(identity, r.Client) {
		rec, _, err := load[clientRecord](ctx, c.env.Store, clientPrefix+name)
		if err != nil {
			return "", err
		}
		switch {
		case rec.Allowed:
			return "the operator allowed " + name + " (milterd greylist allow)", nil
		case i == 0 && c.AutoAllow > 0 && rec.Passes >= c.AutoAllow && r.Time.Unix()-rec.Used < seconds(c.Keep):
			return fmt.Sprintf("%s has passed greylisting %d times", name, rec.Passes), nil
		}
	}
	return "", nil
}

// countPass counts that a client passed after waiting, or records that it passed because it is allowed. Hosts that count at
// the same time write the same number, so no lock is needed.
func (c *check) countPass(ctx context.Context, r *checks.Request, d *delivery) error {
	name := passName(d.identity)
	if name == "" || c.AutoAllow == 0 {
		return nil
	}
	rec, _, err := load[clientRecord](ctx, c.env.Store, clientPrefix+name)
	if err != nil {
		return err
	}
	now := r.Time.Unix()
	if now-rec.Used >= seconds(c.Keep) {
		rec.Passes = 0
	}
	since := now - rec.Counted // negative if it was counted by a wrong clock
	switch {
	case d.progress >= due && rec.Passes < c.AutoAllow && (rec.Passes == 0 || since >= seconds(countInterval) || since < -seconds(maxSkew)):
		rec.Passes++
		rec.Counted = now
	case rec.Passes == 0 || rec.Allowed || isRecent(rec.Used, r.Time):
		return nil
	}
	rec.Used, rec.Client = now, r.Session.Client.String()
	ttl := c.Keep
	if rec.Allowed {
		ttl = allowFor
	}
	return checks.PutJSON(ctx, c.env.Store, clientPrefix+name, rec, ttl)
}
