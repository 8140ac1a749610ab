package greylist

import (
	"cmp"
	"context"
	"fmt"
	"iter"
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
	Took     Times     `json:"took"`          // until the first retry
	Groups   []Group   `json:"groups"`        // at most maxGroups
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

	times []int64 // in seconds
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

	// maxGroups is the number of groups of a report; triplets of further domains are counted in the totals alone. With double, a client
	// that makes up domains takes twice the memory; with half, the report of a large site misses small senders.
	maxGroups = 10_000
)

// Retry returns the report of the last 7 days. It remembers the triplets that passed, but not the others: a client that makes up senders
// can have any number of those.
func Retry(ctx context.Context, store checks.Store, now time.Time) (Report, error) {
	r := Report{
		Since: now.Add(-reportPeriod).UTC(), Until: now.UTC(),
		Groups: []Group{}, NoRetry: []Entry{}, Examples: []Triplet{}, // [] in JSON
	}
	groups := map[string]*Group{}
	var times []int64
	add := func(rec record, moved bool) {
		g := groupOf(groups, rec)
		state := rec.state(now)
		r.add(rec, state, moved)
		g.add(rec, state, moved)
		if rec.Back != 0 {
			times = append(times, rec.Back-rec.First)
			g.times = append(g.times, rec.Back-rec.First)
		}
		if state != Passed {
			g.addClient(networkOf(rec))
		}
		if state == Gone {
			r.addExample(rec.triplet(now))
		}
	}
	passed, pairs := map[string]bool{}, map[string]bool{} // by hash, and by sender and recipient
	for f, err := range heldSince(ctx, store, r.Since, passPrefix) {
		if err != nil {
			return Report{}, err
		}
		passed[f.value.hash()], pairs[f.value.From+"\x00"+f.value.To] = true, true
		add(f.value, false)
	}
	for f, err := range heldSince(ctx, store, r.Since, waitPrefix) {
		if err != nil {
			return Report{}, err
		}
		if !passed[f.value.hash()] { // while a message is accepted, a triplet has both records
			add(f.value, pairs[f.value.From+"\x00"+f.value.To])
		}
	}
	r.setTimes(times)
	r.setGroups(groups, now)
	r.cutExamples()
	return r, nil
}

// heldSince iterates over the triplets under a prefix that were first deferred since a time.
func heldSince(ctx context.Context, store checks.Store, since time.Time, prefix string) iter.Seq2[found[record], error] {
	return scan(ctx, store, "", func(_ selector, f found[record]) bool {
		onlyWatched := f.value.Passed != 0 && f.value.Back == 0
		return f.value.Why != "" && f.value.First >= since.Unix() && !onlyWatched
	}, prefix)
}

// addExample adds a triplet that is gone.
func (r *Report) addExample(t Triplet) {
	if r.Examples = append(r.Examples, t); len(r.Examples) >= 10*maxExamples {
		r.cutExamples()
	}
}

// cutExamples keeps the last maxExamples of Examples.
func (r *Report) cutExamples() {
	slices.SortFunc(r.Examples, func(a, b Triplet) int {
		return cmp.Or(b.First.Compare(a.First), strings.Compare(a.From+a.To, b.From+b.To))
	})
	r.Examples = r.Examples[:min(len(r.Examples), maxExamples)]
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

// groupOf returns the group of a triplet. It adds the group if there is none and there are not too many.
func groupOf(groups map[string]*Group, rec record) *Group {
	domain, named := checks.OrgDomain(rec.Identity), true
	if checks.LooksLikeNetwork(rec.Identity) || domain == "" {
		_, sender, _ := strings.Cut(rec.From, "@")
		domain, named = cmp.Or(checks.OrgDomain(sender), rec.Identity), false
	}
	key := fmt.Sprint(domain, named)
	g := groups[key]
	if g == nil {
		g = &Group{Domain: domain, Named: named, Clients: []string{}} // [] in JSON
		if len(groups) < maxGroups {
			groups[key] = g
		}
	}
	return g
}

// addClient adds a network to Clients, unless maxClients others come before it in the alphabet.
func (g *Group) addClient(network string) {
	if i, found := slices.BinarySearch(g.Clients, network); !found {
		g.Clients = slices.Insert(g.Clients, i, network)
		g.Clients = g.Clients[:min(len(g.Clients), maxClients)]
	}
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
