package callout

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// kind is what came out of a callout.
type kind string

const (
	isAccepted  kind = "accepted"   // RCPT 2yz, after a made-up address was refused
	isRejected  kind = "rejected"   // RCPT 5yz, about the address
	isAcceptAll kind = "accept-all" // the host takes every address
	isTemporary kind = "temporary"  // 4yz, or a mailbox that cannot take mail for now
	isFailed    kind = "failed"     // no host was reached, none speaks SMTP, or none would hear of RCPT
	isRefused   kind = "refused"    // a host refuses us: the connection, or by its policy
	isPending   kind = "pending"    // not known yet
	isSkipped   kind = "skipped"    // the operator does not want this mail host asked
)

// answer is what came out of a callout, and who said it. What is remote in it is printable and short.
type answer struct {
	Kind  kind   `json:"kind"`
	Host  string `json:"host,omitempty"`  // mail host; empty if it did not come so far
	Addr  string `json:"addr,omitempty"`  // of the host
	Stage string `json:"stage"`           // how far it came, see the stages
	Reply string `json:"reply,omitempty"` // the host's, or what happened instead of one
	At    int64  `json:"at"`              // session time of the question, in seconds since 1970
}

// story tells what came out about an address, for people.
func (a answer) story(mailbox string) string {
	text := "callout for <" + mailbox + ">: " + string(a.Kind)
	if a.Host != "" {
		text += ", " + a.Host + " [" + a.Addr + "]"
	}
	text += " at " + a.Stage
	if a.Reply != "" {
		text += ": " + a.Reply
	}
	return text
}

// log tells the operator who was asked, and what was said: somebody may come and ask why.
func (a answer) log(to *logrus.Entry, q question) {
	to.WithFields(logrus.Fields{
		"check": Info.Name, "sender": "<" + q.mailbox + ">", "answer": string(a.Kind),
		"mx": a.Host, "address": a.Addr, "at": a.Stage, "reply": a.Reply,
	}).Info("callout")
}

// The stages of a callout.
const (
	atDNS      = "dns"
	atConnect  = "connect"
	atGreeting = "greeting"
	atHelo     = "helo"
	atStartTLS = "starttls"
	atMail     = "mail"
	atRandom   = "random" // RCPT with a made-up address
	atRcpt     = "rcpt"
)

// final tells whether asking another host would be useless, or bad manners. A refused connection says nothing of the others.
func (a answer) final() bool {
	switch a.Kind {
	case isAccepted, isRejected, isAcceptAll:
		return true
	case isTemporary:
		return a.Stage == atRcpt
	case isRefused:
		return a.Stage != atConnect
	default:
		return false
	}
}

// verdict shows who was asked about an address, and what was said.
func (a answer) verdict(r *checks.Reason, who checks.Address) checks.Verdict {
	return checks.Verdict{Reason: r, Detail: map[string]string{
		"sender":  "<" + mailbox(who) + ">",
		"mx":      cmp.Or(a.Host, who.Domain),
		"address": a.Addr,
		"at":      a.Stage,
		"reply":   cmp.Or(a.Reply, "no reply"),
	}}
}

// question is an address to ask about.
type question struct {
	mailbox string // as RCPT names it
	domain  string
	now     time.Time // session time
}

// The beginnings of keys in the store. What was learned about an address, a domain, a mail host that accepts everything and
// one that refuses us expires each in its own time, so each is a record.
const (
	addrKey      = "callout:addr:"
	domainKey    = "callout:domain:"
	acceptAllKey = "callout:accept-all:"
	closedKey    = "callout:closed:"
	againKey     = "callout:again:"
	rateKey      = "callout:rate:"
	dailyKey     = "callout:daily"
)

// key is the address without regard to case, as a hash: it may be long, and is nobody else's business.
func (q question) key() string {
	sum := sha256.Sum256([]byte(strings.ToLower(q.mailbox)))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// load reads an answer. One that cannot be read is none.
func (c *check) load(ctx context.Context, key string) (a answer, ok bool, err error) {
	value, ok, err := c.env.Store.Get(ctx, key)
	if !ok || err != nil {
		return answer{}, false, err
	}
	if json.Unmarshal(value, &a) != nil || a.Kind == "" {
		return answer{}, false, nil
	}
	return a, true, nil
}

// save writes an answer. A failure costs one more callout, so it is for the log alone; the context of the flight may be
// over.
func (c *check) save(ctx context.Context, key string, a answer, ttl time.Duration) {
	value, err := json.Marshal(a)
	if err == nil {
		err = c.env.Store.Put(context.WithoutCancel(ctx), key, value, ttl)
	}
	if err != nil {
		c.env.Log.WithError(err).WithField("check", Info.Name).Warn("could not remember a callout")
	}
}

// recall finds what is known about an address, or of its domain.
func (c *check) recall(ctx context.Context, q question) (answer, bool, error) {
	a, ok, err := c.load(ctx, addrKey+q.key())
	if ok || err != nil {
		return a, ok, err
	}
	return c.load(ctx, domainKey+q.domain)
}

// again is how long a temporary answer is remembered, so that a mail sent to hundreds is one callout, and how long a refresh
// that came to nothing is not repeated. Servers try again after about as long.
const again = 5 * time.Minute

// remember writes down what a callout has shown. A refresh that shows nothing leaves the good answer alone.
func (c *check) remember(ctx context.Context, q question, a answer, refresh bool) {
	switch {
	case a.Kind == isAccepted:
		c.save(ctx, addrKey+q.key(), a, c.Good)
	case a.Kind == isRejected:
		c.save(ctx, addrKey+q.key(), a, c.Bad)
	case a.Kind == isTemporary && !refresh:
		c.save(ctx, addrKey+q.key(), a, again)
	case a.Kind == isFailed || a.Kind == isRefused:
		c.save(ctx, domainKey+q.domain, a, c.Unusable)
	}
}
