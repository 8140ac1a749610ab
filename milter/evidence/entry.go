package evidence

import (
	"bytes"
	"cmp"
	"encoding/json"
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
	Days  uint64 `json:"d"` // a bit for each day of the week in the store, or of all weeks after shift
	First int64  `json:"f"` // in seconds since 1970
	Last  int64  `json:"l"`
}

// newTally returns a tally of one event.
func newTally(t time.Time) tally {
	now := t.Unix()
	return tally{N: 1, Days: 1 << (now % weekSeconds / daySeconds), First: now, Last: now}
}

func (t tally) days() int { return bits.OnesCount64(t.Days) }

// onlyIf returns the tally if the condition holds, else the zero value.
func (t tally) onlyIf(condition bool) tally {
	if !condition {
		return tally{}
	}
	return t
}

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

// hit counts, for one reason, the transactions that it applied to by their fate.
type hit struct {
	Seen             tally `json:"s,omitzero"`
	Passed           tally `json:"p,omitzero"`
	Refused          tally `json:"r,omitzero"`
	Held             tally `json:"h,omitzero"`
	Quarantined      tally `json:"q,omitzero"`
	Clean            tally `json:"c,omitzero"`
	RefusedOtherwise int   `json:"a,omitempty"`
	Against          int   `json:"x,omitempty"` // transactions in which this reason spoke against the sender
}

// newHit returns the hit of one transaction.
func newHit(f fate, once tally) hit {
	return hit{
		Seen:             once.onlyIf(f&applied != 0),
		Passed:           once.onlyIf(f&passed != 0),
		Refused:          once.onlyIf(f&refused != 0),
		Held:             once.onlyIf(f&held != 0),
		Quarantined:      once.onlyIf(f&quarantined != 0),
		Clean:            once.onlyIf(f&cleanMail != 0),
		RefusedOtherwise: once.onlyIf(f&refusedOtherwise != 0).N,
		Against:          once.onlyIf(f&accused != 0).N,
	}
}

func (h hit) plus(o hit) hit {
	return hit{
		Seen:             h.Seen.plus(o.Seen),
		Passed:           h.Passed.plus(o.Passed),
		Refused:          h.Refused.plus(o.Refused),
		Held:             h.Held.plus(o.Held),
		Quarantined:      h.Quarantined.plus(o.Quarantined),
		Clean:            h.Clean.plus(o.Clean),
		RefusedOtherwise: h.RefusedOtherwise + o.RefusedOtherwise,
		Against:          h.Against + o.Against,
	}
}

func (h hit) shift(week int64) hit {
	for _, t := range []*tally{&h.Seen, &h.Passed, &h.Refused, &h.Held, &h.Quarantined, &h.Clean} {
		*t = t.shift(week)
	}
	return h
}

// hits has the hit of each reason, by its id.
type hits map[string]hit

func (hs hits) add(reason string, h hit) { hs[reason] = hs[reason].plus(h) }

func (hs hits) addAll(o hits) {
	for reason, h := range o {
		hs.add(reason, h)
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
	Client   string   `json:"c"`
	Sender   string   `json:"m,omitempty"`
	Verified bool     `json:"o,omitempty"`
	SPF      bool     `json:"q,omitempty"`
	Hits     hits     `json:"h,omitempty"`
	Known    tally    `json:"k,omitzero"` // transactions whose sender a recipient has written to
	Against  tally    `json:"x,omitzero"` // transactions in which a reason spoke against the sender
	Clean    tally    `json:"n,omitzero"` // clean messages
	Pairs    []string `json:"p,omitempty"`
	Relayed  tally    `json:"r,omitzero"`  // accepted messages of Authors
	Authors  []string `json:"a,omitempty"` // organisational domains in From that are neither the client's nor the verified sender's

	answered bool // see ledger.findAnswered; in a report only
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
	if e.Hits == nil {
		e.Hits = hits{}
	}
	e.Hits.addAll(o.Hits)
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
	for reason, h := range e.Hits {
		e.Hits[reason] = h.shift(week)
	}
}

// cleanOf returns the clean messages to which the reason did not apply. Days on which it applied to a clean message do
// not count.
func (e *entry) cleanOf(reason string) tally {
	t, with := e.Clean, e.Hits[reason].Clean
	t.N, t.Days = t.N-with.N, t.Days&^with.Days
	return t.onlyIf(t.N > 0)
}

// all returns the transactions that a reason applied to. Those with several reasons count several times.
func (e *entry) all() (sum tally) {
	for _, h := range e.Hits {
		sum = sum.plus(h.Seen).plus(h.Passed)
	}
	return sum
}

// worth ranks the entries of a full bucket. Known correspondents rank highest, then entries with clean messages on many
// days, then entries that were seen on many days.
func (e *entry) worth() int {
	n := 8*e.Clean.days() + e.all().days()
	if e.Known.N > 0 {
		n += 64
	}
	return n
}

func (e *entry) last() int64 { return max(e.all().Last, e.Clean.Last) }

// decode reads the entries of a bucket, one a line. It leaves out damaged lines.
func decode(value []byte) map[entryKey]*entry {
	table := map[entryKey]*entry{}
	for line := range bytes.Lines(value) {
		e := &entry{}
		if json.Unmarshal(line, e) == nil && e.Client != "" {
			table[e.key()] = e
		}
	}
	return table
}

// encode returns the entries of a bucket. It leaves out those of the least worth that have no room.
func encode(table map[entryKey]*entry) ([]byte, error) {
	type ranked struct {
		*entry
		worth int
		last  int64
	}
	var list []ranked
	for _, e := range table {
		list = append(list, ranked{entry: e, worth: e.worth(), last: e.last()})
	}
	slices.SortFunc(list, func(x, y ranked) int { return cmp.Or(cmp.Compare(y.worth, x.worth), cmp.Compare(y.last, x.last)) })
	var value []byte
	for _, e := range list[:min(len(list), bucketEntries)] {
		line, err := json.Marshal(e.entry)
		if err != nil {
			return nil, err
		}
		if len(value)+len(line) >= bucketBytes {
			break
		}
		value = append(append(value, line...), '\n')
	}
	return value, nil
}
