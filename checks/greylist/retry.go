package greylist

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/checks"
)

// Report says what became of the triplets that were first deferred in a period.
type Report struct {
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`
	Counts             // of all triplets
	Took     Times     `json:"took"` // until the first retry
	Groups   []Group   `json:"groups"`
	NoRetry  []Entry   `json:"no_retry"`      // candidates for Settings.NoRetry; senders of spam do not retry either
	Delay    int64     `json:"delay_seconds"` // longest delay that is over at 95 % of the first retries; 0 if there are too few
	Examples []Triplet `json:"examples"`      // some that are gone, the last ones first
}

// Counts are numbers of triplets.
type Counts struct {
	Held    int `json:"held"` // deferred
	Passed  int `json:"passed"`
	Waiting int `json:"waiting"` // the window is open
	Gone    int `json:"gone"`
	Early   int `json:"early"` // of Gone: with retries before the end of the delay only
	Moved   int `json:"moved"` // of Waiting and Gone: the same sender and recipient passed with another client
}

// Group has the triplets of one organisational domain: that of the client, or else that of the sender.
type Group struct {
	Domain string `json:"domain"`
	Named  bool   `json:"named"` // Domain is the client's, by a confirmed name or by SPF
	Counts
	Took    Times    `json:"took"`
	Clients []string `json:"clients"` // networks of clients that did not pass, at most maxClients

	times    []int64 // in seconds
	networks map[string]bool
}

// Times are statistics of how long something took, in seconds.
type Times struct {
	Count   int      `json:"count"`
	P5      int64    `json:"p5"` // 5 % took less
	Median  int64    `json:"median"`
	P95     int64    `json:"p95"`
	Buckets []Bucket `json:"buckets,omitempty"`
}

// Bucket counts what took at most AtMost seconds, and more than the bucket before. The last one has 0, for no limit.
type Bucket struct {
	AtMost int64 `json:"at_most"`
	Count  int   `json:"count"`
}

// Entry is an entry that the no-retry list should have: a sender that does not retry, so that greylisting would lose its mail.
type Entry struct {
	Sender   string `json:"sender"` // as in Settings.NoRetry
	Date     string `json:"date"`   // of the evidence, as in 2026-11-21
	Evidence string `json:"evidence"`
}

const (
	minRetries  = 20 // first retries needed for Report.Delay; with half of it, P5 would be the fastest retry alone
	minLost     = 3  // lost triplets of a group needed for an entry in Report.NoRetry; two may be chance
	maxDelay    = 10 * time.Minute
	maxExamples = 20
	maxClients  = 8
)

// Retry returns the report of the last 7 days.
func Retry(ctx context.Context, store checks.Store, now time.Time) (Report, error) {
	r := Report{
		Since: now.Add(-reportPeriod).UTC(), Until: now.UTC(),
		Groups: []Group{}, NoRetry: []Entry{}, Examples: []Triplet{}, // [] in JSON
	}
	held, err := heldSince(ctx, store, r.Since)
	if err != nil {
		return Report{}, err
	}
	passed := map[string]bool{} // by sender and recipient
	for _, rec := range held {
		if rec.Passed != 0 {
			passed[rec.From+"\x00"+rec.To] = true
		}
	}
	groups := map[string]*Group{}
	var times []int64
	for _, rec := range held {
		g := groupOf(groups, rec)
		state := rec.state(now)
		moved := state != Passed && passed[rec.From+"\x00"+rec.To]
		r.add(rec, state, moved)
		g.add(rec, state, moved)
		if rec.Back != 0 {
			times = append(times, rec.Back-rec.First)
			g.times = append(g.times, rec.Back-rec.First)
		}
		if state != Passed {
			g.networks[networkOf(rec)] = true
		}
		if state == Gone {
			r.Examples = append(r.Examples, rec.triplet(now))
		}
	}
	r.setTimes(times)
	r.setGroups(groups, now)
	slices.SortFunc(r.Examples, func(a, b Triplet) int {
		return cmp.Or(b.First.Compare(a.First), strings.Compare(a.From+a.To, b.From+b.To))
	})
	r.Examples = r.Examples[:min(len(r.Examples), maxExamples)]
	return r, nil
}

// heldSince returns the triplets that were first deferred since a time, by hash. While a message is accepted, a triplet has a
// record under both prefixes; the one that passed is returned.
func heldSince(ctx context.Context, store checks.Store, since time.Time) (map[string]record, error) {
	held := map[string]record{}
	for f, err := range findTriplets(ctx, store, "") {
		if err != nil {
			return nil, err
		}
		rec := f.value
		onlyWatched := rec.Passed != 0 && rec.Back == 0
		if rec.Why == "" || rec.First < since.Unix() || onlyWatched {
			continue
		}
		if hash := rec.hash(); rec.Passed != 0 || held[hash].Passed == 0 {
			held[hash] = rec
		}
	}
	return held, nil
}

func (n *Counts) add(rec record, s State, moved bool) {
	n.Held++
	switch s {
	case Passed:
		n.Passed++
	case Waiting:
		n.Waiting++
	default:
		n.Gone++
		if rec.Back != 0 {
			n.Early++
		}
	}
	if moved {
		n.Moved++
	}
}

// groupOf returns the group of a triplet. It adds the group if there is none.
func groupOf(groups map[string]*Group, rec record) *Group {
	domain, named := checks.OrgDomain(rec.Identity), true
	if checks.LooksLikeNetwork(rec.Identity) || domain == "" {
		_, sender, _ := strings.Cut(rec.From, "@")
		domain, named = cmp.Or(checks.OrgDomain(sender), rec.Identity), false
	}
	key := fmt.Sprint(domain, named)
	if groups[key] == nil {
		groups[key] = &Group{Domain: domain, Named: named, networks: map[string]bool{}}
	}
	return groups[key]
}

// networkOf returns the network of the client at the last attempt.
func networkOf(rec record) string {
	a, err := netip.ParseAddr(rec.Client)
	if err != nil {
		return rec.Identity
	}
	return checks.Network(a).String()
}

// setTimes sets Took and Delay.
func (r *Report) setTimes(times []int64) {
	r.Took = newTimes(times)
	const m, h = time.Minute, time.Hour
	for _, limit := range []time.Duration{m, 3 * m, 5 * m, 10 * m, 15 * m, 30 * m, h, 2 * h, 4 * h, 8 * h, 24 * h, 48 * h} {
		r.Took.Buckets = append(r.Took.Buckets, Bucket{AtMost: seconds(limit)})
	}
	r.Took.Buckets = append(r.Took.Buckets, Bucket{})
	for _, t := range times {
		i := slices.IndexFunc(r.Took.Buckets, func(b Bucket) bool { return b.AtMost == 0 || t <= b.AtMost })
		r.Took.Buckets[i].Count++
	}
	if len(times) >= minRetries {
		r.Delay = min(max(r.Took.P5/60*60, 60), seconds(maxDelay))
	}
}

// newTimes returns the statistics of times, which it sorts.
func newTimes(times []int64) Times {
	n := len(times)
	if n == 0 {
		return Times{}
	}
	slices.Sort(times)
	return Times{Count: n, P5: times[n/20], Median: times[n/2], P95: times[n*19/20]}
}

// setGroups sets Groups and NoRetry.
func (r *Report) setGroups(groups map[string]*Group, now time.Time) {
	for _, g := range groups {
		g.Took = newTimes(g.times)
		g.Clients = slices.AppendSeq([]string{}, maps.Keys(g.networks)) // [] in JSON
		slices.Sort(g.Clients)
		g.Clients = g.Clients[:min(len(g.Clients), maxClients)]
		r.Groups = append(r.Groups, *g)
	}
	slices.SortFunc(r.Groups, func(a, b Group) int {
		return cmp.Or(b.Gone-a.Gone, b.Held-a.Held, strings.Compare(a.Domain, b.Domain))
	})
	for _, g := range r.Groups {
		r.NoRetry = append(r.NoRetry, g.entries(now)...)
	}
}

// entries returns the entries that a group should have in the no-retry list. A client without a name is listed by its networks,
// and only if mail passed with another client: otherwise it cannot be distinguished from senders of spam.
func (g Group) entries(now time.Time) []Entry {
	date := now.UTC().Format(time.DateOnly)
	switch {
	case g.Moved >= minLost:
		evidence := fmt.Sprintf("report retry: of %d deliveries held, %d passed only with another client.", g.Held, g.Moved)
		if g.Named {
			return []Entry{{Sender: "." + g.Domain, Date: date, Evidence: evidence}}
		}
		var list []Entry
		for _, network := range g.Clients {
			if checks.LooksLikeNetwork(network) {
				list = append(list, Entry{Sender: network, Date: date, Evidence: fmt.Sprintf("%s (sender domain %s)", evidence, g.Domain)})
			}
		}
		return list
	case g.Named && g.Passed == 0 && g.Gone >= minLost:
		evidence := fmt.Sprintf("report retry: of %d deliveries held, none was retried in time.", g.Held)
		return []Entry{{Sender: "." + g.Domain, Date: date, Evidence: evidence}}
	default:
		return nil
	}
}
