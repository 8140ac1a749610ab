package callout

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"milterd/checks"
)

// What is counted since the start, beside the results of callouts.
const (
	countCallouts    = "callouts"    // begun
	countKnown       = "known"       // answers from the store
	countConnections = "connections" // to mail hosts
	countPending     = "pending"     // mails without an answer in time
	countLimited     = "limited"     // callouts not made because of a limit
)

// counted are all counts, which conditions show even if they are zero.
var counted = []string{
	countCallouts, countKnown, countConnections, countPending, countLimited,
	string(resultAccepted), string(resultRejected), string(resultAcceptAll), string(resultTemporary), string(resultFailed), string(resultRefused),
}

const (
	// maxRefusing is how many mail hosts that refuse us are kept for the report, and in memory: strangers choose their number.
	maxRefusing = 1000
	// maxRefusingShown is how many of them the report names.
	maxRefusingShown = 5
)

// stats has what the operator sees. Its methods are safe for concurrent use.
type stats struct {
	mu       sync.Mutex
	counts   map[string]uint64
	refusing map[string]refusal // by name of the mail host
	today    int64              // connections of the site in the current day
}

// refusal is the refusal of callouts by a mail host.
type refusal struct {
	until time.Time // before that, the host is not asked
	reply string
}

func (s *stats) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

// addRefusal records the mail host of an answer, if it refuses us.
func (s *stats) addRefusal(a answer, ttl time.Duration) {
	if a.Result != resultRefused {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.refusing[a.Host]; known || len(s.refusing) < maxRefusing {
		s.refusing[a.Host] = refusal{until: time.Unix(a.At, 0).Add(ttl), reply: a.Reply}
	}
}

// Maintain implements checks.Maintainer. It reads how many connections the site has made in the current day.
func (c *check) Maintain(ctx context.Context, now time.Time) {
	value, ok, err := c.env.Store.Get(ctx, dailyKey)
	s := &c.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	for host, r := range s.refusing {
		if !now.Before(r.until) {
			delete(s.refusing, host)
		}
	}
	if err != nil {
		return
	}
	s.today = 0
	if n, err := strconv.ParseInt(string(value), 10, 64); ok && err == nil {
		s.today = min(n, int64(c.Daily)) // the counter counts beyond the limit
	}
}

// Report implements checks.Maintainer.
func (c *check) Report() []checks.Condition {
	c.mu.Lock()
	flights := len(c.flights)
	c.mu.Unlock()
	s := &c.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	condition := checks.Condition{Name: "mail hosts", State: "on", Counts: map[string]uint64{
		"under_way": uint64(flights), "refusing": uint64(len(s.refusing)), "today": uint64(s.today), "daily": uint64(c.Daily),
	}}
	for _, name := range counted {
		condition.Counts[strings.ReplaceAll(name, "-", "_")] = s.counts[name]
	}
	if s.today >= int64(c.Daily) {
		condition.State = "spent"
		condition.Why = "the limit daily is reached, no host is asked until it allows callouts again"
	}
	if len(s.refusing) > 0 { // a note and not a fault, as many hosts refuse callouts
		condition.Note = "not asked because they refuse callouts: " + s.refusingHosts()
	}
	return []checks.Condition{condition}
}

// refusingHosts lists mail hosts that refuse us, those for the longest time first. The caller holds mu.
func (s *stats) refusingHosts() string {
	hosts := slices.SortedFunc(maps.Keys(s.refusing), func(a, b string) int {
		return cmp.Or(s.refusing[b].until.Compare(s.refusing[a].until), strings.Compare(a, b))
	})
	var list []string
	for _, host := range hosts[:min(maxRefusingShown, len(hosts))] {
		r := s.refusing[host]
		list = append(list, fmt.Sprintf("%s until %s (%s)", checks.Clean(host, maxShown), r.until.UTC().Format(checks.TimeLayout), r.reply))
	}
	if more := len(hosts) - maxRefusingShown; more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, ", ")
}
