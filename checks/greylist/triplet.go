package greylist

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
)

// Prefixes of keys in the store. A triplet (client identity, reverse-path, recipient) has a record under waitPrefix from its
// first attempt, and a record under passPrefix once a message was accepted. With a single record, a host that records an early
// retry could overwrite that another host has just accepted the message: the store has no compare-and-swap.
const (
	waitPrefix = "greylist:wait:"
	passPrefix = "greylist:pass:"
)

const (
	// reportPeriod is how long a triplet without a retry is kept after its window, for the report.
	reportPeriod = 7 * 24 * time.Hour
	// lastUseResolution is how old the time of the last use may be before it is written again. Half of it doubles the writes
	// of busy senders; a triplet may expire so much before keep.
	lastUseResolution = time.Hour
	// maxSkew is how far apart the clocks of hosts with a common store may be. A time further in the future is wrong. With half
	// of it, a client would wait once more at a host whose clock is 40 s behind.
	maxSkew = time.Minute
	// minRetry is how long after the first attempt another one is a retry. Earlier ones try another MX host of this site, or
	// send the next recipient. With half of it, the report counts more of these as retries; with double, it misses more real retries.
	minRetry = 30 * time.Second
	// maxRecipient is the length of a stored recipient in bytes: RFC 5321 section 4.5.3.1 permits 64 + 1 + 255.
	maxRecipient = 320
)

// record is a triplet in the store. Times are in Unix seconds, 0 if there is none.
type record struct {
	Identity string `json:"id"`
	From     string `json:"from"` // facts.StableSender; empty for the null reverse-path
	To       string `json:"to"`
	Client   string `json:"client"`          // address at the last attempt; empty if unknown
	Why      string `json:"why,omitempty"`   // id of the suspicion; empty if it was never deferred
	First    int64  `json:"first"`           // attempt that began the delay
	Last     int64  `json:"last"`            // attempt
	Until    int64  `json:"until,omitempty"` // end of the window; 0 once a message was accepted
	Back     int64  `json:"back,omitempty"`  // first retry, too early or not
	Passed   int64  `json:"passed,omitempty"`
	Attempts int    `json:"n"`
}

// progress is how far a triplet is.
type progress uint8

const (
	unseen progress = iota // or too long ago
	early                  // the delay is not over
	due                    // the delay is over
	known                  // a message was accepted
)

// delivery is one recipient of the current transaction.
type delivery struct {
	index    int // in Envelope.Rcpts
	identity facts.Identity
	hash     string
	rec      record
	stored   bool // there is a record under waitPrefix
	progress progress
	left     time.Duration // until the end of the delay, if progress is early
	passes   string        // why the delivery need not wait; empty: it waits
	reported bool          // a verdict was returned
}

func newDelivery(r *checks.Request, index int, identity facts.Identity) *delivery {
	now := r.Time.Unix()
	d := &delivery{index: index, identity: identity, rec: record{
		Identity: identity.String(), From: facts.StableSender(r.Envelope.MailFrom), To: storedRecipient(r.Envelope.Rcpts[index].Address),
		First: now, Last: now,
	}}
	if client := r.Session.Client; client.IsValid() {
		d.rec.Client = client.String()
	}
	d.hash = d.rec.hash()
	return d
}

// storedRecipient returns a recipient in the form of record.To. Sites ignore case in their local parts.
func storedRecipient(a checks.Address) string {
	to := a.Text
	if a.Local != "" && a.Domain != "" {
		to = a.Local + "@" + a.Domain
	}
	to = strings.ToLower(to)
	return to[:min(len(to), maxRecipient)]
}

// hash returns the part of the key that identifies a triplet.
func (rec record) hash() string { return checks.HashKey(rec.Identity, rec.From, rec.To) }

// lookUp sets the progress of a delivery.
func (c *check) lookUp(ctx context.Context, now time.Time, d *delivery) error {
	if err := c.lookUpPassed(ctx, now, d); err != nil || d.progress == known {
		return err
	}
	return c.lookUpWaiting(ctx, now, d)
}

func (c *check) lookUpPassed(ctx context.Context, now time.Time, d *delivery) error {
	old, ok, err := load[record](ctx, c.env.Store, passPrefix+d.hash)
	if ok && now.Unix()-old.Last < seconds(c.Keep) {
		old.Client = d.rec.Client
		d.rec, d.progress = old, known
		d.passes = "this sender has passed greylisting with mail to this recipient"
	}
	return err
}

func (c *check) lookUpWaiting(ctx context.Context, now time.Time, d *delivery) error {
	old, ok, err := load[record](ctx, c.env.Store, waitPrefix+d.hash)
	if !ok || err != nil {
		return err
	}
	d.stored = true
	first := time.Unix(old.First, 0)
	d.left = first.Add(c.Delay).Sub(now)
	switch {
	case d.left > c.Delay+maxSkew, now.After(first.Add(c.Window)):
		return nil
	case d.left > 0:
		d.progress = early
	default:
		d.progress, d.passes = due, "the delay of greylisting is over"
	}
	old.Client = d.rec.Client
	d.rec = old
	return nil
}

// recordAttempt records an attempt that does not pass. It returns how long the client must still wait, or 0 if it need not.
func (c *check) recordAttempt(ctx context.Context, r *checks.Request, d *delivery, suspicion *checks.Reason) (time.Duration, error) {
	var err error
	if d.passes, err = c.allowance(ctx, r, d.identity); d.passes != "" || err != nil {
		return 0, err
	}
	if d.progress == unseen {
		begun, err := c.begin(ctx, r, d, suspicion)
		if begun || err != nil {
			return c.Delay, err
		}
	}
	if d.passes != "" { // in another connection, at the same time
		return 0, nil
	}
	if d.progress == early {
		d.retry(r.Time)
		err = c.saveWaiting(ctx, r.Time, d)
	}
	return max(d.left, time.Second), err
}

// begin begins the delay with the first attempt. Nothing is written for a network that may not begin another, see mayBegin: its next
// attempt is the first again. begin returns false if another connection wrote a record at the same time, which then applies.
func (c *check) begin(ctx context.Context, r *checks.Request, d *delivery, suspicion *checks.Reason) (bool, error) {
	if !d.stored {
		// The other connection may have delivered the message and deleted the record under waitPrefix, after lookUp looked for one
		// under passPrefix.
		if err := c.lookUpPassed(ctx, r.Time, d); err != nil || d.progress == known {
			return false, err
		}
		if !c.mayBegin(r) {
			return true, nil
		}
	}
	d.rec.Why, d.rec.Until, d.rec.Attempts = suspicion.ID, r.Time.Add(c.Window).Unix(), 1
	if d.stored { // outside of its window
		return true, c.saveWaiting(ctx, r.Time, d)
	}
	value, err := json.Marshal(d.rec)
	if err != nil {
		return false, err
	}
	d.stored = true // perhaps even if PutNew fails
	begun, err := c.env.Store.PutNew(ctx, waitPrefix+d.hash, value, c.Window+reportPeriod)
	if begun || err != nil {
		return begun, err
	}
	return false, c.lookUpWaiting(ctx, r.Time, d)
}

// mayBegin reports whether the client's network may begin another triplet in this hour. It logs once that it may not. Clients
// whose address is not known are not one network: the mail of all the world may come from them.
func (c *check) mayBegin(r *checks.Request) bool {
	if !r.Client.IsValid() {
		return true
	}
	n := c.begun.add(r.Client, r.Time)
	if n == maxBegun+1 {
		c.env.Log.WithFields(r.LogFields()).WithField("network", checks.Network(r.Client).String()).
			Warn("too many new senders and recipients under greylisting: more of this network wait for the next hour")
	}
	return n <= maxBegun
}

// retry counts an attempt after the first.
func (d *delivery) retry(now time.Time) {
	d.rec.Last = now.Unix()
	d.rec.Attempts++
	if d.rec.Back == 0 && now.Unix()-d.rec.First >= seconds(minRetry) {
		d.rec.Back = now.Unix()
	}
}

func (c *check) saveWaiting(ctx context.Context, now time.Time, d *delivery) error {
	return checks.PutJSON(ctx, c.env.Store, waitPrefix+d.hash, d.rec, time.Unix(d.rec.Until, 0).Add(reportPeriod).Sub(now))
}

// recordPass records that a message was accepted.
func (c *check) recordPass(ctx context.Context, now time.Time, d *delivery) error {
	if d.progress == known {
		if isRecent(d.rec.Last, now) {
			return nil
		}
		d.rec.Last = now.Unix()
		d.rec.Attempts++
		return checks.PutJSON(ctx, c.env.Store, passPrefix+d.hash, d.rec, c.Keep)
	}
	if d.passes != "" { // otherwise the deferral was only watched
		d.retry(now)
	}
	if d.progress == due && d.rec.Back == 0 { // the delay is under minRetry
		d.rec.Back = now.Unix()
	}
	d.rec.Passed, d.rec.Until = now.Unix(), 0
	d.rec.Attempts = max(1, d.rec.Attempts)
	if err := checks.PutJSON(ctx, c.env.Store, passPrefix+d.hash, d.rec, c.Keep); err != nil || !d.stored {
		return err
	}
	return c.env.Store.Delete(ctx, waitPrefix+d.hash)
}

// isRecent reports whether a time need not be written again. A time in the future was written by a wrong clock.
func isRecent(unix int64, now time.Time) bool {
	age := now.Unix() - unix
	return age >= -seconds(maxSkew) && age < seconds(lastUseResolution)
}

// seconds converts d to seconds, rounded up.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// load reads a record. It returns the zero value for a value that milterd did not write.
func load[T any](ctx context.Context, store checks.Store, key string) (v T, ok bool, err error) {
	value, ok, err := store.Get(ctx, key)
	if !ok || err != nil {
		return v, false, err
	}
	if json.Unmarshal(value, &v) != nil {
		return *new(T), true, nil
	}
	return v, true, nil
}
