// Package correspondents vouches for the outside addresses that users of this site write to, so that their answers are not
// delayed. Observe stores a pair of addresses for each recipient of a message from inside, and Check looks for the pair when
// a message comes from outside. The right of a client to use the sender's domain comes from package facts. Start with Check.
package correspondents

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/headers"
)

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "correspondents",
	Doc: "Remembers for 60 days to whom the users of this site write (in trusted and authenticated sessions). Mail from " +
		"such an address to such a user is neither greylisted nor verified by callout, if the client passes SPF or has a " +
		"confirmed name under the sender's domain.",
	Stages: []checks.Stage{checks.RcptTo},
}, checks.NoSettings{}, func(_ checks.NoSettings, env checks.Env) (checks.Check, error) {
	return &check{env: env}, nil
})

const (
	// keep is how long a pair is kept after the last message to the outside address. Monthly answers need over 31 days; twice
	// as long would keep twice as many records.
	keep = 60 * 24 * time.Hour
	// maxRecipients is how many recipients of one message are stored. The MTA waits for the writes, so twice as many take
	// twice the time; half would miss more of what people, and not newsletters, send.
	maxRecipients = 50
)

type check struct{ env checks.Env }

// Check implements checks.Check. It asks the DNS only for stored pairs.
func (c *check) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	from := r.Envelope.MailFrom
	if from.Local == "" || from.Domain == "" || c.env.Site.IsLocal(from.Domain) {
		return nil, nil
	}
	ok, err := Known(ctx, c.env.Store, Pair(from, r.Rcpt().Address), r.Time)
	if ok {
		ok, err = facts.SenderVerified(ctx, c.env, r)
	}
	if !ok && err == nil {
		return nil, nil
	}
	return []checks.Verdict{{Vouch: checks.SkipDelays, Unsure: err != nil, Why: "the recipient has written to the sender in the last 60 days"}}, err
}

// Observe implements checks.Observer. It stores the recipients of a message that a user of this site sent. It stores none of a
// bounce, which has no author, of a message with an SRS address, whose author is elsewhere, and of an automatic answer such as a
// vacation notice, which anybody can cause.
func (c *check) Observe(ctx context.Context, r *checks.Request, e checks.Event) {
	from := r.Envelope.MailFrom
	isInside := r.Trusted() || r.AuthUser != ""
	if e.Kind != checks.Accepted || !isInside || !c.env.Site.IsLocal(from.Domain) || facts.IsSRS(from) || isAutoReply(r.Envelope.Header) {
		return
	}
	p := pair{Local: facts.Mailbox(from), At: r.Time.Unix()}
	stored := 0
	for _, rcpt := range r.Envelope.Rcpts {
		if rcpt.Refused != "" || rcpt.Local == "" || rcpt.Domain == "" || c.env.Site.IsLocal(rcpt.Domain) {
			continue
		}
		if stored++; stored > maxRecipients {
			return
		}
		p.Outside = facts.Mailbox(rcpt.Address)
		if err := checks.PutJSON(ctx, c.env.Store, p.key(), p, keep); err != nil {
			// The store would fail for the other recipients too.
			checks.WarnOfStore(c.env.Log.WithFields(r.LogFields()), err, "could not store a correspondent")
			return
		}
	}
}

// isAutoReply reports whether a program answered to a message, RFC 3834 section 5.2, or sent a report about it, such as the read
// receipt that its sender asked for (RFC 8098 section 3). A message that a program sends by itself (auto-generated), such as that of
// a ticket system, is none: people answer it.
func isAutoReply(header []headers.Field) bool {
	return slices.ContainsFunc(header, func(f headers.Field) bool {
		keyword := strings.ToLower(strings.TrimSpace(f.Value))
		if end := strings.IndexAny(keyword, "; \t\r\n("); end >= 0 { // before a comment or a parameter
			keyword = keyword[:end]
		}
		return f.Is("Auto-Submitted") && keyword == "auto-replied" || f.Is("Content-Type") && keyword == "multipart/report"
	})
}

// pair is a record of the store: a user of this site and an outside address that the user wrote to.
type pair struct {
	Local   string `json:"local"` // both in the form of facts.Mailbox
	Outside string `json:"outside"`
	At      int64  `json:"at"` // time of the last message, in Unix seconds
}

func (p pair) key() string { return "correspondents:" + checks.HashKey(p.Local, p.Outside) }

// Pair returns the key of a pair for Known: about 40 bytes, from which the addresses cannot be read.
func Pair(outside, local checks.Address) string {
	return pair{Local: facts.Mailbox(local), Outside: facts.Mailbox(outside)}.key()
}

// Known reports whether the user of a pair wrote to its outside address within 60 days before a time.
func Known(ctx context.Context, store checks.Store, pairKey string, at time.Time) (bool, error) {
	value, ok, err := store.Get(ctx, pairKey)
	if !ok || err != nil {
		return false, err
	}
	var p pair
	if json.Unmarshal(value, &p) != nil {
		return false, nil
	}
	return at.Unix()-p.At < int64(keep/time.Second), nil
}
