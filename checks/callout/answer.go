package callout

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// result is the result of a callout.
type result string

// The results.
const (
	resultAccepted  result = "accepted"   // RCPT 2yz, after a random address was refused
	resultRejected  result = "rejected"   // RCPT 5yz, about the address
	resultAcceptAll result = "accept-all" // the host accepts every address
	resultTemporary result = "temporary"  // 4yz, or a mailbox that cannot take mail for now
	resultFailed    result = "failed"     // no host was reached, none speaks SMTP, or none got as far as RCPT
	resultRefused   result = "refused"    // a host refuses us: the connection, or by its policy
	resultPending   result = "pending"    // not known yet
	resultSkipped   result = "skipped"    // the settings skip this mail host
)

// The steps of a callout.
const (
	atDNS      = "dns"
	atConnect  = "connect"
	atGreeting = "greeting"
	atHelo     = "helo"
	atStartTLS = "starttls"
	atMail     = "mail"
	atRandom   = "random" // RCPT with a random address
	atRcpt     = "rcpt"
)

// answer is the result of a callout, and the host that gave it. Remote bytes in it are printable US-ASCII.
type answer struct {
	Result result `json:"kind"`
	Host   string `json:"host,omitempty"`  // mail host; empty if none was asked
	Addr   string `json:"addr,omitempty"`  // of the host
	Step   string `json:"stage"`           // last step
	Reply  string `json:"reply,omitempty"` // of the host, or what happened instead
	At     int64  `json:"at"`              // session time of the question, in Unix seconds
}

// isFinal reports whether no other host should be asked. A refused connection says nothing about other hosts.
func (a answer) isFinal() bool {
	switch a.Result {
	case resultAccepted, resultRejected, resultAcceptAll:
		return true
	case resultTemporary:
		return a.Step == atRcpt
	case resultRefused:
		return a.Step != atConnect
	default:
		return false
	}
}

// verdict returns the verdict about an address, with the host and its reply.
func (a answer) verdict(reason *checks.Reason, addr checks.Address) checks.Verdict {
	return checks.Verdict{Reason: reason, Detail: map[string]string{
		"sender":  "<" + mailbox(addr) + ">",
		"mx":      cmp.Or(a.Host, addr.Domain),
		"address": a.Addr,
		"at":      a.Step,
		"reply":   cmp.Or(a.Reply, "no reply"),
	}}
}

// note returns the note for the trace of the session.
func (a answer) note(mailbox string) string {
	text := "callout for <" + mailbox + ">: " + string(a.Result)
	if a.Host != "" {
		text += ", " + a.Host + " [" + a.Addr + "]"
	}
	text += " at " + a.Step
	if a.Reply != "" {
		text += ": " + a.Reply
	}
	return text
}

// log logs a callout: the owner of the mail host may ask the operator about it.
func (a answer) log(log *logrus.Entry, q question) {
	log.WithFields(logrus.Fields{
		"check": Info.Name, "sender": "<" + q.mailbox + ">", "answer": string(a.Result),
		"mx": a.Host, "address": a.Addr, "at": a.Step, "reply": a.Reply,
	}).Info("callout")
}

// question is an address to ask about.
type question struct {
	mailbox string // as returned by mailbox
	domain  string
	now     time.Time // session time
}

// key returns a hash of the address, ignoring case. The address may be long, and is private.
func (q question) key() string { return checks.HashKey(strings.ToLower(q.mailbox)) }

// Prefixes of keys in the store. Answers about an address, a domain, a mail host that accepts everything and a mail host that
// refuses us expire at different times.
const (
	addrPrefix      = "callout:addr:"
	domainPrefix    = "callout:domain:"
	acceptAllPrefix = "callout:accept-all:"
	refusedPrefix   = "callout:closed:"
	refreshPrefix   = "callout:again:"
	ratePrefix      = "callout:rate:"
	dailyKey        = "callout:daily"
)

// keepTemporary is how long a temporary answer is kept, and how long a failed refresh is not repeated. With half of it, retries
// of the mail cause more callouts; with double, a retry still meets the answer to the first attempt.
const keepTemporary = 5 * time.Minute

// lookUp returns the answer in the store about an address or its domain.
func (c *check) lookUp(ctx context.Context, q question) (answer, bool, error) {
	a, ok, err := c.load(ctx, addrPrefix+q.key())
	if ok || err != nil {
		return a, ok, err
	}
	return c.load(ctx, domainPrefix+q.domain)
}

// store stores the answer to a question. An answer to a refresh that says nothing about the address does not replace the good one.
func (c *check) store(ctx context.Context, q question, a answer, refresh bool) {
	switch {
	case a.Result == resultAccepted:
		c.save(ctx, addrPrefix+q.key(), a, c.Good)
	case a.Result == resultRejected:
		c.save(ctx, addrPrefix+q.key(), a, c.Bad)
	case a.Result == resultTemporary && !refresh:
		c.save(ctx, addrPrefix+q.key(), a, keepTemporary)
	case a.Result == resultFailed || a.Result == resultRefused:
		c.save(ctx, domainPrefix+q.domain, a, c.Unusable)
	}
}

// load reads an answer. An invalid record is no answer.
func (c *check) load(ctx context.Context, key string) (a answer, ok bool, err error) {
	value, ok, err := c.env.Store.Get(ctx, key)
	if !ok || err != nil {
		return answer{}, false, err
	}
	if json.Unmarshal(value, &a) != nil || a.Result == "" {
		return answer{}, false, nil
	}
	return a, true, nil
}

// save writes an answer. A failure costs one more callout, so it is only logged. The context of the flight may be done.
func (c *check) save(ctx context.Context, key string, a answer, ttl time.Duration) {
	if err := checks.PutJSON(context.WithoutCancel(ctx), c.env.Store, key, a, ttl); err != nil {
		checks.WarnOfStore(c.env.Log.WithField("check", Info.Name), err, "could not store the answer to a callout")
	}
}
