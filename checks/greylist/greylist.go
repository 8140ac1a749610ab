// Package greylist asks a client that is under some suspicion to come back later, once for each sender and recipient
// (greylisting, RFC 6647): mail servers do, most programs that send spam do not.
package greylist

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// Validate refuses what would hold mail back for ever, or not at all.
func (c Settings) Validate() error {
	var faults []error
	if c.Delay <= 0 {
		faults = append(faults, errors.New("delay must be over 0; to switch greylisting off, set the action of greylisted to off"))
	}
	if c.Window <= c.Delay {
		faults = append(faults, fmt.Errorf("window (%s) must be longer than delay (%s), or nobody could come back in time", c.Window, c.Delay))
	}
	if c.Keep < c.Window {
		faults = append(faults, fmt.Errorf("keep (%s) must not be shorter than window (%s)", c.Keep, c.Window))
	}
	if c.AutoAllow < 0 {
		faults = append(faults, errors.New("auto_allow must not be under 0; 0 switches it off"))
	}
	_, err := parseNoRetry(c.NoRetry)
	return errors.Join(append(faults, err)...)
}

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "greylist",
	Doc: "Has a delivery wait that another check suspects (a reason whose action is greylist), or every first one if " +
		"first-contact is set to greylist, until the client comes back after the delay. It runs last, so that mail which is " +
		"refused anyway is not asked to come back.",
	Stages:  []checks.Stage{checks.RcptTo, checks.EndOfHeader},
	Reasons: []*checks.Reason{firstContact, greylisted},
}, Settings{Delay: 3 * time.Minute, Window: 48 * time.Hour, Keep: 35 * 24 * time.Hour, AutoAllow: 5}, build)

func build(c Settings, env checks.Env) (checks.Check, error) {
	var texts []string
	for _, e := range Shipped() {
		texts = append(texts, e.Sender)
	}
	list, err := parseNoRetry(append(texts, c.NoRetry...))
	if err != nil {
		return nil, err
	}
	return &check{Settings: c, env: env, noRetry: list}, nil
}

type check struct {
	Settings
	env     checks.Env
	noRetry noRetry
}

// Check implements checks.Check.
func (c *check) Check(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	if s.Stage == checks.EndOfHeader {
		return c.atHeader(ctx, s)
	}
	return c.atRcpt(ctx, s)
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(s *checks.Request) []checks.Query { return facts.IdentityAhead(s) }

// atRcpt judges the recipient in question.
func (c *check) atRcpt(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	index := len(s.Envelope.Rcpts) - 1
	d, err := c.deliveryTo(ctx, s, index)
	if d == nil || err != nil || d.passes() {
		return nil, err
	}
	why := s.Suspicions(index)
	var first []checks.Verdict
	if len(why) == 0 {
		first = []checks.Verdict{{Reason: firstContact}}
		if s.Action(firstContact) != checks.Greylist {
			return first, nil
		}
		why = []*checks.Reason{firstContact}
	}
	// Other sites ask us with a null reverse-path whether a recipient exists, and must have their answer. The Pipeline adds
	// the first contact to the suspicions, so that the end of the header will see it.
	if s.Envelope.MailFrom.IsNull() {
		return first, nil
	}
	left, err := c.hold(ctx, s, d, why[0])
	if left <= 0 || err != nil {
		return nil, err
	}
	d.told = true
	return append(first, verdict(s, d, why[0], left)), nil
}

// atHeader judges the message for all its recipients: what has a suspicion that came up only now, and bounces. One of them
// that must wait holds the message, which has one reply; but all of them are noted, so that they wait together and not one
// after the other.
func (c *check) atHeader(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	var longest *delivery
	var why *checks.Reason
	var most time.Duration
	for i, r := range s.Envelope.Rcpts {
		suspicions := s.Suspicions(i)
		if r.Refused != "" || len(suspicions) == 0 {
			continue
		}
		d, err := c.deliveryTo(ctx, s, i)
		if err != nil {
			return nil, err
		}
		// One that was told at RCPT and is still here is watched: the verdict is in the log already.
		if d == nil || d.told || d.passes() {
			continue
		}
		left, err := c.hold(ctx, s, d, suspicions[0])
		if err != nil {
			return nil, err
		}
		if left > most {
			longest, why, most = d, suspicions[0], left
		}
	}
	if longest == nil {
		return nil, nil
	}
	return []checks.Verdict{verdict(s, longest, why, most)}, nil
}

// deliveryTo is what is known of the delivery to a recipient, looked up once in a transaction. It is nil for one that never
// waits: somebody vouches for it, or the sender is known not to come back.
func (c *check) deliveryTo(ctx context.Context, s *checks.Request, index int) (*delivery, error) {
	if index < 0 || s.Vouch(index) >= checks.SkipDelays {
		return nil, nil
	}
	seen := transactionOf(s)
	at, ok := slices.BinarySearchFunc(seen.deliveries, index, func(d *delivery, index int) int { return d.index - index })
	if ok {
		return seen.deliveries[at], nil
	}
	if c.neverRetries(ctx, s) {
		return nil, nil
	}
	// A DNS that does not answer gives the client another identity than the next time, and so may cost it one more delay.
	// That is no reason to let it through: spammers have name servers too.
	who, _ := facts.ClientIdentity(ctx, c.env, s)
	d := newDelivery(s, index, who)
	if err := c.look(ctx, s.Time, d); err != nil {
		return nil, err
	}
	seen.deliveries = slices.Insert(seen.deliveries, at, d)
	return d, nil
}

// transaction is what the check knows of the open mail transaction.
type transaction struct {
	deliveries  []*delivery // by index
	neverRetry  bool
	askedOfList bool
}

type transactionKey struct{}

func transactionOf(s *checks.Request) *transaction {
	t, _ := checks.Remember(s, checks.MailFrom, transactionKey{}, func() (*transaction, error) { return new(transaction), nil })
	return t
}

// verdict is greylisted, with what the reply says.
func verdict(s *checks.Request, d *delivery, why *checks.Reason, left time.Duration) checks.Verdict {
	return checks.Verdict{Reason: greylisted, Detail: map[string]string{
		"seconds":   fmt.Sprint(seconds(left)),
		"why":       sentence(s, d, why),
		"suspicion": why.ID,
		"identity":  d.who.String(),
	}}
}

// seconds rounds up: who comes back after so many is not too early.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// sentence is the suspicion as its own reply would say it. What only the verdict behind it knew is left out, with the
// punctuation that leads to it: "no reverse DNS name of 192.0.2.9 leads back to it: {ptr}" ends before the colon.
func sentence(s *checks.Request, d *delivery, why *checks.Reason) string {
	text := why.Reply.Text
	for at := 0; ; {
		i := strings.IndexByte(text[at:], '{')
		if i < 0 {
			return text
		}
		at += i
		length := strings.IndexByte(text[at:], '}') + 1
		value, ok := placeholder(s, d, text[at:at+length])
		if !ok {
			return whole(text[:at], why.When)
		}
		text = text[:at] + value + text[at+length:]
		at += len(value)
	}
}

// whole cuts an unfinished sentence back to where it might end; instead is for one that cannot.
func whole(text, instead string) string {
	if open := strings.LastIndex(text, " ("); open > strings.LastIndexByte(text, ')') {
		return text[:open]
	}
	if end := max(strings.LastIndex(text, ": "), strings.LastIndex(text, ", "), strings.LastIndex(text, "; ")); end > 0 {
		return text[:end]
	}
	return instead
}

// placeholder is what one stands for if the session knows it.
func placeholder(s *checks.Request, d *delivery, name string) (value string, ok bool) {
	const longest = 60 // so that the sentence comes to its end
	switch name {
	case "{client}":
		value = s.Client.String()
	case "{client_name}":
		value = s.ClientName
	case "{helo}":
		value = s.Helo
	case "{mail_from}":
		value = "<" + s.Envelope.MailFrom.Text + ">"
	case "{domain}":
		value = s.Envelope.MailFrom.Domain
	case "{rcpt}":
		value = "<" + s.Envelope.Rcpts[d.index].Text + ">"
	default:
		return "", false
	}
	return checks.Clean(value, longest), true
}
