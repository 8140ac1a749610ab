package greylist

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
)

// Keys in the store. A triplet (client identity, reverse-path, recipient) has a record under waitKey from its first attempt
// on, and one under passKey once a message came through. They are two, so that a daemon which writes that a client came
// back too early can never undo that another has let it through.
const (
	waitKey = "greylist:wait:"
	passKey = "greylist:pass:"
)

const (
	// reportFor is how long a triplet that nobody came back for is kept after its window, for the report.
	reportFor = 7 * 24 * time.Hour
	// refresh is how old the time of the last use may become before it is written again: so much sooner than keep a triplet
	// may be forgotten, and so many writes are saved.
	refresh = time.Hour
	// skew is how far the clocks of hosts that share a store may be apart. What was first seen further in the future was
	// written by a clock that was wrong.
	skew = time.Minute
	// together is how long after the first attempt another one is taken as a part of it: the sender tries our other MX, or
	// the next recipient.
	together = 30 * time.Second
	// maxText is the most octets of a recipient that are kept.
	maxText = 320
)

// record is a triplet in the store. Times are seconds since 1970, 0 if it did not happen.
type record struct {
	Identity string `json:"id"`
	From     string `json:"from"` // facts.StableSender; empty: the null reverse-path
	To       string `json:"to"`
	Client   string `json:"client"`          // address of the last attempt; empty if the MTA could not tell
	Why      string `json:"why,omitempty"`   // id of the suspicion it was held for; empty: it never was
	First    int64  `json:"first"`           // attempt from which the delay counts
	Last     int64  `json:"last"`            // attempt
	Until    int64  `json:"until,omitempty"` // end of the window
	Back     int64  `json:"back,omitempty"`  // first retry, too early or not
	Passed   int64  `json:"passed,omitempty"`
	Attempts int    `json:"n"`
}

// state is how far a triplet has come.
type state uint8

const (
	unseen state = iota // or so long ago that it begins anew
	early               // the delay is not over
	due                 // it is over, and the window is not
	known               // a message came through
)

// delivery is one recipient of the open transaction.
type delivery struct {
	index  int // in Envelope.Rcpts
	who    facts.Identity
	hash   string
	rec    record
	stored bool // there is a record under waitKey
	state  state
	left   time.Duration // if early
	waited bool          // it was suspected, and passed by having waited
	free   bool          // it was suspected, and its client waits no more
	told   bool          // a verdict was given
}

// passes tells whether the delivery needs not wait.
func (d *delivery) passes() bool {
	d.waited = !d.free && d.state >= due
	return d.free || d.state >= due
}

func newDelivery(s *checks.Request, index int, who facts.Identity) *delivery {
	to := s.Envelope.Rcpts[index].Address
	text := to.Local + "@" + to.Domain
	if to.Local == "" || to.Domain == "" {
		text = to.Text
	}
	text = strings.ToLower(text) // no site tells its users apart by case
	now := s.Time.Unix()
	d := &delivery{index: index, who: who, rec: record{
		Identity: who.String(), From: facts.StableSender(s.Envelope.MailFrom), To: text[:min(len(text), maxText)],
		First: now, Last: now,
	}}
	if s.Client.IsValid() {
		d.rec.Client = s.Client.String()
	}
	d.hash = d.rec.hash()
	return d
}

// hash names a triplet in keys: 128 bits, which nobody can find a second triplet for.
func (r record) hash() string {
	sum := sha256.Sum256([]byte(r.Identity + "\x00" + r.From + "\x00" + r.To))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// look finds out how far the triplet has come.
func (c *check) look(ctx context.Context, now time.Time, d *delivery) error {
	if err := c.lookPassed(ctx, now, d); err != nil || d.state == known {
		return err
	}
	return c.lookWaiting(ctx, now, d)
}

func (c *check) lookPassed(ctx context.Context, now time.Time, d *delivery) error {
	old, ok, err := load[record](ctx, c.env.Store, passKey+d.hash)
	if ok && now.Unix()-old.Last < seconds(c.Keep) {
		old.Client = d.rec.Client
		d.rec, d.state = old, known
	}
	return err
}

func (c *check) lookWaiting(ctx context.Context, now time.Time, d *delivery) error {
	old, ok, err := load[record](ctx, c.env.Store, waitKey+d.hash)
	if !ok || err != nil {
		return err
	}
	d.stored = true
	first := time.Unix(old.First, 0)
	d.left = first.Add(c.Delay).Sub(now)
	switch {
	case d.left > c.Delay+skew, now.After(first.Add(c.Window)):
		return nil
	case d.left > 0:
		d.state = early
	default:
		d.state = due
	}
	old.Client = d.rec.Client
	d.rec = old
	return nil
}

// hold notes that a delivery which does not pass must wait, and returns how long still: 0 if it need not, as its client
// never waits any more.
func (c *check) hold(ctx context.Context, s *checks.Request, d *delivery, why *checks.Reason) (time.Duration, error) {
	var err error
	if d.free, err = c.allowed(ctx, s, d.who); d.free || err != nil {
		return 0, err
	}
	if d.state == unseen && !d.stored {
		// A message that came through in another connection, between the two looks, took the record of waiting with it.
		if err := c.lookPassed(ctx, s.Time, d); err != nil || d.state == known {
			return 0, err
		}
	}
	if d.state == unseen {
		d.rec.Why, d.rec.Until = why.ID, s.Time.Add(c.Window).Unix()
		begun, err := c.begin(ctx, s.Time, d)
		if begun || err != nil {
			return c.Delay, err
		}
	}
	if d.state == early {
		d.again(s.Time)
		err = c.putWaiting(ctx, s.Time, d)
	}
	if d.passes() {
		return 0, err
	}
	return max(d.left, time.Second), err
}

// begin writes the first attempt. It is false if another daemon has done so in between: then the state is the one that
// the other began.
func (c *check) begin(ctx context.Context, now time.Time, d *delivery) (bool, error) {
	d.rec.Attempts = 1
	if d.stored { // one that begins anew
		return true, c.putWaiting(ctx, now, d)
	}
	d.stored = true
	value, err := json.Marshal(d.rec)
	if err != nil {
		return false, err
	}
	begun, err := c.env.Store.PutNew(ctx, waitKey+d.hash, value, c.Window+reportFor)
	if begun || err != nil {
		return begun, err
	}
	if err := c.lookWaiting(ctx, now, d); err != nil {
		return false, err
	}
	if d.state == unseen { // what is there cannot be read
		return true, c.putWaiting(ctx, now, d)
	}
	return false, nil
}

// again counts an attempt.
func (d *delivery) again(now time.Time) {
	d.rec.Last = now.Unix()
	d.rec.Attempts++
	if d.rec.Back == 0 && now.Unix()-d.rec.First >= seconds(together) {
		d.rec.Back = now.Unix()
	}
}

func (c *check) putWaiting(ctx context.Context, now time.Time, d *delivery) error {
	return save(ctx, c.env.Store, waitKey+d.hash, d.rec, time.Unix(d.rec.Until, 0).Add(reportFor).Sub(now))
}

// pass writes that a message came through.
func (c *check) pass(ctx context.Context, now time.Time, d *delivery) error {
	if d.state == known && isFresh(d.rec.Last, now) {
		return nil
	}
	if d.state == known {
		d.rec.Last = now.Unix()
		d.rec.Attempts++
	} else {
		// One that was only watched did not come back.
		if d.state == due || d.free {
			d.again(now)
		}
		if d.state == due && d.rec.Back == 0 { // however short the delay
			d.rec.Back = now.Unix()
		}
		d.rec.Passed, d.rec.Until = now.Unix(), 0
		d.rec.Attempts = max(1, d.rec.Attempts)
	}
	if err := save(ctx, c.env.Store, passKey+d.hash, d.rec, c.Keep); err != nil || d.state == known || !d.stored {
		return err
	}
	return c.env.Store.Delete(ctx, waitKey+d.hash)
}

// isFresh tells whether a time needs not be written again yet. One that is ahead was written by a clock that was wrong.
func isFresh(at int64, now time.Time) bool {
	age := now.Unix() - at
	return age >= -seconds(skew) && age < seconds(refresh)
}

// load reads a record. One that cannot be read counts as none: it was not written by us.
func load[T any](ctx context.Context, store checks.Store, key string) (v T, ok bool, err error) {
	value, ok, err := store.Get(ctx, key)
	if !ok || err != nil {
		return v, false, err
	}
	if json.Unmarshal(value, &v) != nil {
		return *new(T), false, nil
	}
	return v, true, nil
}

func save(ctx context.Context, store checks.Store, key string, v any, ttl time.Duration) error {
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return store.Put(ctx, key, value, ttl)
}
