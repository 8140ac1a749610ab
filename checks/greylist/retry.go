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
	"milterd/checks/facts"
)

// Report tells what became of the deliveries that were first held in a period: who came back, how long it took, and who
// never did.
type Report struct {
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`
	Counts             // of all
	Took     Times     `json:"took"` // until the first retry, of those who came back at all
	Groups   []Group   `json:"groups"`
	NoRetry  []Entry   `json:"no_retry"`      // for the setting no_retry; look at each: spammers do not come back either
	Delay    int64     `json:"delay_seconds"` // the longest delay that hardly anyone's first retry would be too early for; 0: too few to say
	Examples []Triplet `json:"examples"`      // some that never came back, the last ones first
}

// Counts are numbers of triplets.
type Counts struct {
	Held    int `json:"held"`
	Passed  int `json:"passed"`
	Waiting int `json:"waiting"` // the window is still open
	Gone    int `json:"gone"`
	Early   int `json:"early"` // of Gone: came back, but only before the delay was over
	Moved   int `json:"moved"` // of Waiting and Gone: the same sender and recipient passed as another client
}

// Group is the triplets of one organisational domain: that of the client, or of the sender if the client has none.
type Group struct {
	Domain string `json:"domain"`
	Named  bool   `json:"named"` // it is the client's own: by a confirmed name, or by SPF
	Counts
	Took    Times    `json:"took"`
	Clients []string `json:"clients"` // networks of clients that did not pass, at most 8

	times    []int64
	networks map[string]bool
}

// Times is how long something took, in seconds.
type Times struct {
	Count   int      `json:"count"`
	P5      int64    `json:"p5"` // one in twenty took less
	Median  int64    `json:"median"`
	P95     int64    `json:"p95"`
	Buckets []Bucket `json:"buckets,omitempty"`
}

// Bucket counts what took no more than AtMost seconds, and more than the bucket before. The last one has 0: no limit.
type Bucket struct {
	AtMost int64 `json:"at_most"`
	Count  int   `json:"count"`
}

const (
	enough      = 20 // first retries, below which no delay follows
	suspects    = 3  // deliveries of a group that must be lost before an entry follows
	maxDelay    = 10 * time.Minute
	maxExamples = 20
	maxClients  = 8
)

// bucketLimits are the limits of Buckets.
func bucketLimits() []time.Duration {
	const m, h = time.Minute, time.Hour
	return []time.Duration{m, 3 * m, 5 * m, 10 * m, 15 * m, 30 * m, h, 2 * h, 4 * h, 8 * h, 24 * h, 48 * h}
}

// Retry makes the report of the last 7 days.
func Retry(ctx context.Context, store checks.Store, now time.Time) (Report, error) {
	r := Report{
		Since: now.Add(-reportFor).UTC(), Until: now.UTC(),
		Groups: []Group{}, NoRetry: []Entry{}, Examples: []Triplet{}, // [] in JSON
	}
	held := map[string]record{} // by hash: while a triplet passes there may be a record of each kind
	for f, err := range find(ctx, store, "") {
		if err != nil {
			return Report{}, err
		}
		if f.Why == "" || f.First < r.Since.Unix() || f.Passed != 0 && f.Back == 0 {
			continue // not held in the period, or only watched
		}
		if hash := f.hash(); f.Passed != 0 || held[hash].Passed == 0 {
			held[hash] = f.record
		}
	}
	passed := map[string]bool{} // by sender and recipient
	for _, t := range held {
		if t.Passed != 0 {
			passed[t.From+"\x00"+t.To] = true
		}
	}
	groups := map[string]*Group{}
	var times []int64
	for _, t := range held {
		g := groupOf(groups, t)
		state := t.state(now)
		moved := state != Passed && passed[t.From+"\x00"+t.To]
		r.add(t, state, moved)
		g.add(t, state, moved)
		if t.Back != 0 {
			times = append(times, t.Back-t.First)
			g.times = append(g.times, t.Back-t.First)
		}
		if state != Passed {
			g.networks[networkOf(t)] = true
		}
		if state == Gone {
			r.Examples = append(r.Examples, t.triplet(now))
		}
	}
	r.finish(groups, times, now)
	return r, nil
}

func (n *Counts) add(t record, s State, moved bool) {
	n.Held++
	switch s {
	case Passed:
		n.Passed++
	case Waiting:
		n.Waiting++
	default:
		n.Gone++
		if t.Back != 0 {
			n.Early++
		}
	}
	if moved {
		n.Moved++
	}
}

func groupOf(groups map[string]*Group, t record) *Group {
	domain, named := facts.OrgDomain(t.Identity), true
	if networkText(t.Identity) || domain == "" {
		_, sender, _ := strings.Cut(t.From, "@")
		domain, named = cmp.Or(facts.OrgDomain(sender), t.Identity), false
	}
	key := fmt.Sprint(domain, named)
	if groups[key] == nil {
		groups[key] = &Group{Domain: domain, Named: named, networks: map[string]bool{}}
	}
	return groups[key]
}

// networkText tells whether a text is an address or a network.
func networkText(s string) bool {
	_, errAddr := netip.ParseAddr(s)
	_, errNet := netip.ParsePrefix(s)
	return errAddr == nil || errNet == nil
}

// networkOf is the network of the last client.
func networkOf(t record) string {
	a, err := netip.ParseAddr(t.Client)
	if err != nil {
		return t.Identity
	}
	return facts.Network(a).String()
}

// finish brings what was counted into order and draws the conclusions.
func (r *Report) finish(groups map[string]*Group, times []int64, now time.Time) {
	r.Took = newTimes(times)
	for _, limit := range bucketLimits() {
		r.Took.Buckets = append(r.Took.Buckets, Bucket{AtMost: seconds(limit)})
	}
	r.Took.Buckets = append(r.Took.Buckets, Bucket{})
	for _, t := range times {
		i := slices.IndexFunc(r.Took.Buckets, func(b Bucket) bool { return b.AtMost == 0 || t <= b.AtMost })
		r.Took.Buckets[i].Count++
	}
	if len(times) >= enough {
		r.Delay = min(max(r.Took.P5/60*60, 60), seconds(maxDelay))
	}
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
	slices.SortFunc(r.Examples, func(a, b Triplet) int {
		return cmp.Or(b.First.Compare(a.First), strings.Compare(a.From+a.To, b.From+b.To))
	})
	r.Examples = r.Examples[:min(len(r.Examples), maxExamples)]
}

// newTimes sorts the list.
func newTimes(list []int64) Times {
	n := len(list)
	if n == 0 {
		return Times{}
	}
	slices.Sort(list)
	return Times{Count: n, P5: list[n/20], Median: list[n/2], P95: list[(n*19)/20]}
}

// entries are what a group should have in the no-retry list. A client without a name is known by its network alone: there
// it takes mail that came through from elsewhere to tell a pool from spam.
func (g Group) entries(now time.Time) []Entry {
	date := now.UTC().Format(time.DateOnly)
	pool := g.Moved >= suspects
	switch {
	case pool:
		evidence := fmt.Sprintf("report retry: of %d deliveries held, %d passed only when they came from another client.", g.Held, g.Moved)
		if g.Named {
			return []Entry{{"." + g.Domain, date, evidence}}
		}
		var list []Entry
		for _, network := range g.Clients {
			if networkText(network) {
				list = append(list, Entry{network, date, fmt.Sprintf("%s (sender domain %s)", evidence, g.Domain)})
			}
		}
		return list
	case g.Named && g.Passed == 0 && g.Gone >= suspects:
		return []Entry{{"." + g.Domain, date, fmt.Sprintf("report retry: of %d deliveries held, none came back in time.", g.Held)}}
	default:
		return nil
	}
}
