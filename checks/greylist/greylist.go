// Package greylist implements greylisting, RFC 6647: it defers the first delivery of a suspicious client, reverse-path and
// recipient. Mail servers retry after some minutes, most programs that send spam do not.
//
// A delivery is suspicious if an earlier check returned a reason with the action greylist, or on first contact, if that
// reason has the action. The identity of a client comes from package facts.
//
// greylist.go has the check and reply.go the text of its reply. triplet.go has the record of a client, reverse-path and
// recipient; begun.go how many of them a network may begin; client.go the record of a client that retried often enough;
// noretry.go the senders that never retry. operator.go has the operator's commands, selector.go what they select, and retry.go
// the report of retries. Start with Check and Observe.
package greylist

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
)

// Settings configure the check.
type Settings struct {
	Delay     time.Duration `yaml:"delay" doc:"How long a delivery under suspicion waits; many servers try again after 5m and then much later, so stay below that."`
	Window    time.Duration `yaml:"window" doc:"How long after the first attempt the retry counts; servers try for up to 5d, most come back within hours."`
	Keep      time.Duration `yaml:"keep" doc:"How long a sender that came back is remembered after its last message; 35d bridges a monthly newsletter."`
	AutoAllow int           `yaml:"auto_allow" doc:"A client that passed so many times, one counted per hour, waits no more; 0: every new sender and recipient waits."`
	NoRetry   []string      `yaml:"no_retry" doc:"Senders that never wait, beside those that milterd knows not to retry: host names, .domains, addresses, networks."`
}

// Validate returns an error for settings that would defer mail forever, or never.
func (c Settings) Validate() error {
	var faults []error
	if c.Delay <= 0 {
		faults = append(faults, errors.New("delay must be over 0; to switch greylisting off, set the action of greylisted to off"))
	}
	if c.Window <= c.Delay {
		faults = append(faults, fmt.Errorf("window (%s) must be longer than delay (%s), or no retry is in time",
			checks.FormatDuration(c.Window), checks.FormatDuration(c.Delay)))
	}
	if c.Keep < c.Window {
		faults = append(faults, fmt.Errorf("keep (%s) must not be shorter than window (%s)", checks.FormatDuration(c.Keep), checks.FormatDuration(c.Window)))
	}
	if c.AutoAllow < 0 {
		faults = append(faults, errors.New("auto_allow must not be under 0; 0 switches it off"))
	}
	_, err := parseNoRetry(c.NoRetry)
	return errors.Join(append(faults, err)...)
}

// Info describes the check. It is the last one in the registry, so that no client has to retry with mail that another check refuses.
var Info = checks.Define(checks.Info{
	Name: "greylist",
	Doc: "Defers a delivery that another check suspects (a reason whose action is greylist), or every first one if " +
		"first-contact is set to greylist, until the client comes back after the delay.",
	Stages:  []checks.Stage{checks.RcptTo, checks.EndOfMessage},
	Reasons: []*checks.Reason{firstContact, greylisted},
}, Settings{Delay: 3 * time.Minute, Window: 48 * time.Hour, Keep: 35 * 24 * time.Hour, AutoAllow: 5}, build)

// build returns the check. Its no-retry list has the entries of the settings and the built-in ones.
func build(c Settings, env checks.Env) (checks.Check, error) {
	list, err := parseNoRetry(append(builtIn(), c.NoRetry...))
	if err != nil {
		return nil, err
	}
	return &check{Settings: c, env: env, noRetry: list}, nil
}

type check struct {
	Settings
	env     checks.Env
	noRetry noRetry
	begun   begunCounter
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(r *checks.Request) []checks.Query { return facts.PrefetchIdentity(r) }

// Check implements checks.Check.
func (c *check) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	if r.Stage == checks.EndOfMessage {
		return c.checkMessage(ctx, r)
	}
	return c.checkRcpt(ctx, r)
}

// checkRcpt checks the current recipient.
func (c *check) checkRcpt(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	index := len(r.Envelope.Rcpts) - 1
	d, err := c.delivery(ctx, r, index)
	if d == nil || d.passes != "" {
		return waived(r, index, d), err
	}
	var verdicts []checks.Verdict
	suspicion := firstContact
	if suspicions := r.Suspicions(index); len(suspicions) > 0 {
		suspicion = suspicions[0]
	} else {
		verdicts = []checks.Verdict{{Reason: firstContact}}
		if r.Action(firstContact) != checks.Greylist {
			return verdicts, nil
		}
	}
	// Callouts have a null reverse-path and need an answer to RCPT. Bounces are deferred at the end of the message: by then the
	// Pipeline has added firstContact to their suspicions.
	if r.Envelope.MailFrom.IsNull() {
		return verdicts, nil
	}
	left, err := c.recordAttempt(ctx, r, d, suspicion)
	if left <= 0 || err != nil {
		return waived(r, index, d), err
	}
	d.reported = true
	return append(verdicts, deferral(r, d, suspicion, left)), nil
}

// waived returns the verdict that says why the suspicions of a recipient do not delay the mail, or none. d may be nil.
func waived(r *checks.Request, index int, d *delivery) []checks.Verdict {
	if d == nil || d.passes == "" || len(r.Suspicions(index)) == 0 {
		return nil
	}
	return []checks.Verdict{{Why: d.passes}}
}

// checkMessage checks the recipients of a bounce, and those under a suspicion that was found after RCPT. One deferred recipient defers
// the message. The delay of all starts now, so that they do not wait one after the other.
func (c *check) checkMessage(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	var verdicts []checks.Verdict
	var longest time.Duration
	passes := ""
	for i, rcpt := range r.Envelope.Rcpts {
		suspicions := r.Suspicions(i)
		if rcpt.Refused != "" || len(suspicions) == 0 {
			continue
		}
		d, err := c.delivery(ctx, r, i)
		if err != nil {
			return nil, err
		}
		if d == nil || d.reported { // reported: only watched, or it would have been refused at RCPT
			continue
		}
		if d.passes == "" {
			left, err := c.recordAttempt(ctx, r, d, suspicions[0])
			if err != nil {
				return nil, err
			}
			if left > longest {
				longest, verdicts = left, []checks.Verdict{deferral(r, d, suspicions[0], left)}
			}
		}
		passes = cmp.Or(d.passes, passes)
	}
	if passes != "" {
		verdicts = append(verdicts, checks.Verdict{Why: passes})
	}
	return verdicts, nil
}

// delivery returns the delivery to a recipient, which is looked up once per transaction. It is nil if a check vouches for the sender.
// If the sender is known not to retry, nothing is looked up, and Observe records nothing.
func (c *check) delivery(ctx context.Context, r *checks.Request, index int) (*delivery, error) {
	if r.Vouch(index) >= checks.SkipDelays {
		return nil, nil
	}
	deliveries := deliveriesOf(r)
	if d := deliveries[index]; d != nil {
		return d, nil
	}
	if c.neverRetries(ctx, r) {
		return &delivery{passes: "the client or the sender is on the list of those that do not try again (no_retry)"}, nil
	}
	// If the DNS fails, the client gets a less specific identity and may wait once more. It must not pass: a spammer
	// controls its own name servers.
	identity, _ := facts.ClientIdentity(ctx, c.env, r)
	d := newDelivery(r, index, identity)
	if err := c.lookUp(ctx, r.Time, d); err != nil {
		return nil, err
	}
	deliveries[index] = d
	return d, nil
}

// deliveriesKey is the key of what deliveriesOf remembers.
type deliveriesKey struct{}

// deliveriesOf returns the deliveries of the current transaction that were looked up, by the index of the recipient.
func deliveriesOf(r *checks.Request) map[int]*delivery {
	m, _ := checks.Remember(r, checks.MailFrom, deliveriesKey{}, func() (map[int]*delivery, error) {
		return map[int]*delivery{}, nil
	})
	return m
}

// Observe implements checks.Observer. It records the deliveries of a message that is accepted. In a trusted session there are
// none, as the check did not run.
func (c *check) Observe(ctx context.Context, r *checks.Request, e checks.Event) {
	if e.Kind != checks.Accepted {
		return
	}
	deliveries := deliveriesOf(r)
	counted := false
	for i, rcpt := range r.Envelope.Rcpts {
		d := deliveries[i]
		if d == nil || rcpt.Refused != "" {
			continue
		}
		err := c.recordPass(ctx, r.Time, d)
		if err == nil && !counted && d.passes != "" && len(r.Suspicions(i)) > 0 {
			counted = true
			err = c.countPass(ctx, r, d)
		}
		if err != nil {
			// The sender may have to wait once more. The store would fail for the other recipients too.
			checks.WarnOfStore(c.env.Log.WithFields(r.LogFields()), err, "could not record that a message passed greylisting")
			return
		}
	}
}
