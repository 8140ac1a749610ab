package evidence

import (
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	daySeconds  = 24 * 60 * 60
	weekSeconds = 7 * daySeconds
)

// week returns the week of a time, counted from 1970.
func week(t time.Time) int64 { return t.Unix() / weekSeconds }

// tally counts something. The zero value counts nothing.
type tally struct {
	N     int    `json:"n"`
	Days  uint64 `json:"d"` // a bit for each day: in the store, of one week; after shift, of all weeks
	First int64  `json:"f"` // in seconds since 1970
	Last  int64  `json:"l"`
}

// newTally returns a tally of one event.
func newTally(t time.Time) tally {
	now := t.Unix()
	day := uint64(now % weekSeconds / daySeconds) // before 1970 it is so large that Days is 0
	return tally{N: 1, Days: 1 << day, First: now, Last: now}
}

func (t tally) days() int { return bits.OnesCount64(t.Days) }

// shift returns the tally of a week in the store with its days at their place among all weeks. Week 0 is the oldest.
func (t tally) shift(week int64) tally {
	t.Days <<= uint(7 * week)
	return t
}

func (t tally) plus(o tally) tally {
	switch {
	case o.N == 0:
		return t
	case t.N == 0:
		return o
	}
	return tally{N: t.N + o.N, Days: t.Days | o.Days, First: min(t.First, o.First), Last: max(t.Last, o.Last)}
}

// counts counts the transactions that one reason applied to by what became of them.
type counts struct {
	Applied          tally `json:"s,omitzero"` // all
	Passed           tally `json:"p,omitzero"` // the message was accepted
	Clean            tally `json:"c,omitzero"` // the message was clean although the reason applied, see update.clean
	Quarantined      tally `json:"q,omitzero"` // the message was accepted, and quarantined for this reason
	Held             tally `json:"h,omitzero"` // greylisted because of this reason
	Refused          tally `json:"r,omitzero"` // refused for this reason
	RefusedOtherwise int   `json:"a,omitempty"`
	Against          int   `json:"x,omitempty"` // this reason spoke against the sender, see countsOf
}

func (c *counts) tallies() [6]*tally {
	return [...]*tally{&c.Applied, &c.Passed, &c.Clean, &c.Quarantined, &c.Held, &c.Refused}
}

func (c counts) plus(o counts) counts {
	others := o.tallies()
	for i, t := range c.tallies() {
		*t = t.plus(*others[i])
	}
	c.RefusedOtherwise += o.RefusedOtherwise
	c.Against += o.Against
	return c
}

// without returns what c counts and o does not. Both are about one transaction.
func (c counts) without(o counts) counts {
	others := o.tallies()
	for i, t := range c.tallies() {
		if others[i].N > 0 {
			*t = tally{}
		}
	}
	c.RefusedOtherwise = max(0, c.RefusedOtherwise-o.RefusedOtherwise)
	c.Against = max(0, c.Against-o.Against)
	return c
}

func (c counts) shift(week int64) counts {
	for _, t := range c.tallies() {
		*t = t.shift(week)
	}
	return c
}

// reasonCounts has the counts of each reason, by its id.
type reasonCounts map[string]counts

func (rc reasonCounts) add(reason string, c counts) { rc[reason] = rc[reason].plus(c) }

func (rc reasonCounts) addAll(o reasonCounts) {
	for reason, c := range o {
		rc.add(reason, c)
	}
}

// Bounds of an entry.
const (
	maxName  = 320 // bytes of a client or sender
	maxPairs = 2

	maxAuthors = relayAuthors + 3 // the report names them
	maxAuthor  = 64               // bytes of a domain in Authors; longer ones are left out
)

// entry is the evidence about a sender and its client.
type entry struct {
	Client   string       `json:"c"`
	Sender   string       `json:"m,omitempty"`
	Verified bool         `json:"o,omitempty"`
	SPF      bool         `json:"q,omitempty"`
	Reasons  reasonCounts `json:"h,omitempty"`
	Known    tally        `json:"k,omitzero"`  // transactions whose sender a recipient had written to
	Against  tally        `json:"x,omitzero"`  // transactions in which a reason spoke against the sender
	Clean    tally        `json:"n,omitzero"`  // clean messages
	Pairs    []string     `json:"p,omitempty"` // see Origin.Pairs; of senders to whom no recipient had written
	Relayed  tally        `json:"r,omitzero"`  // accepted messages of Authors
	Authors  []string     `json:"a,omitempty"` // organisational domains in From that are neither the client's nor the verified sender's

	answered bool // see the cause answered in good.go; set by Collector.read
}

// entryKey identifies an entry.
type entryKey struct {
	client, sender string
	verified       bool
}

func (e *entry) key() entryKey {
	return entryKey{client: e.Client, sender: e.Sender, verified: e.Verified}
}

// clientName returns the client of an entry without the network that follows its domain.
func (e *entry) clientName() string {
	name, _, _ := strings.Cut(e.Client, " ")
	return name
}

// clientDomain returns the domain of the client, or "" if only its network is known.
func (e *entry) clientDomain() string {
	name := e.clientName()
	_, errNetwork := netip.ParsePrefix(name)
	_, errAddress := netip.ParseAddr(name)
	if errNetwork == nil || errAddress == nil || !strings.Contains(name, ".") {
		return ""
	}
	return name
}

// add adds another entry for the same key.
func (e *entry) add(o *entry) {
	e.SPF = e.SPF || o.SPF
	e.Known, e.Against, e.Clean = e.Known.plus(o.Known), e.Against.plus(o.Against), e.Clean.plus(o.Clean)
	if e.Reasons == nil {
		e.Reasons = reasonCounts{}
	}
	e.Reasons.addAll(o.Reasons)
	for _, p := range o.Pairs {
		if !slices.Contains(e.Pairs, p) {
			e.Pairs = append(e.Pairs, p)
		}
	}
	e.Pairs = e.Pairs[max(0, len(e.Pairs)-maxPairs):]
	e.Relayed = e.Relayed.plus(o.Relayed)
	for _, a := range o.Authors {
		e.addAuthor(a)
	}
}

// addAuthor adds an author domain, if there is room.
func (e *entry) addAuthor(domain string) {
	if len(e.Authors) < maxAuthors && len(domain) <= maxAuthor && !slices.Contains(e.Authors, domain) {
		e.Authors = append(e.Authors, domain)
	}
}

func (e *entry) shift(week int64) {
	for _, t := range []*tally{&e.Known, &e.Against, &e.Clean, &e.Relayed} {
		*t = t.shift(week)
	}
	for reason, c := range e.Reasons {
		e.Reasons[reason] = c.shift(week)
	}
}

// cleanOf returns the clean messages to which the reason did not apply. Days on which it applied to a clean message do
// not count.
func (e *entry) cleanOf(reason string) tally {
	t, with := e.Clean, e.Reasons[reason].Clean
	t.N, t.Days = t.N-with.N, t.Days&^with.Days
	if t.N <= 0 {
		return tally{}
	}
	return t
}

// all returns the transactions that a reason applied to. Those with several reasons count several times.
func (e *entry) all() (sum tally) {
	for _, c := range e.Reasons {
		sum = sum.plus(c.Applied).plus(c.Passed)
	}
	return sum
}
