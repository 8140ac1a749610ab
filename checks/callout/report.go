package callout

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"milterd/checks"
)

// What is counted beside the kinds of answers, for each callout once, since the check was made.
const (
	countCallouts    = "callouts"    // begun
	countKnown       = "known"       // answers that were remembered
	countConnections = "connections" // to mail hosts
	countPending     = "pending"     // mails that got no answer in time
	countLimited     = "limited"     // callouts not made because of a limit
)

// counted are all of them, so that each is told before there is one.
var counted = []string{
	countCallouts, countKnown, countConnections, countPending, countLimited,
	string(isAccepted), string(isRejected), string(isAcceptAll), string(isTemporary), string(isFailed), string(isRefused),
}

const (
	// maxClosed is how many mail hosts that refuse us are known for the report.
	maxClosed = 1000
	// shownClosed is how many of them it names.
	shownClosed = 5
)

// tally is what the operator is told of. Mail hosts are strangers, and as many as a stranger likes: they are counted together.
type tally struct {
	mu     sync.Mutex
	counts map[string]uint64
	closed map[string]closing // by name of the mail host
	today  int64              // connections of the site in the running day
}

// closing is a mail host that refuses us.
type closing struct {
	until time.Time
	reply string
}

func (t *tally) count(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = map[string]uint64{}
	}
	t.counts[what]++
}

// refusal notes that a mail host is left alone for a while, if it is.
func (t *tally) refusal(a answer, ttl time.Duration) {
	if a.Kind != isRefused {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed == nil {
		t.closed = map[string]closing{}
	}
	if _, known := t.closed[a.Host]; known || len(t.closed) < maxClosed {
		t.closed[a.Host] = closing{time.Unix(a.At, 0).Add(ttl), a.Reply}
	}
}

// Maintain implements checks.Maintainer: it looks what the whole site has used of its day.
func (c *check) Maintain(ctx context.Context, now time.Time) {
	value, ok, err := c.env.Store.Get(ctx, dailyKey)
	c.tally.mu.Lock()
	defer c.tally.mu.Unlock()
	for host, cl := range c.tally.closed {
		if !now.Before(cl.until) {
			delete(c.tally.closed, host)
		}
	}
	if err != nil {
		return
	}
	c.tally.today = 0
	if n, err := strconv.ParseInt(string(value), 10, 64); ok && err == nil {
		c.tally.today = min(n, int64(c.Daily)) // the counter goes on beyond the limit
	}
}

// Report implements checks.Maintainer.
func (c *check) Report() []checks.Condition {
	c.mu.Lock()
	flights := len(c.flights)
	c.mu.Unlock()
	t := &c.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	report := checks.Condition{Name: "mail hosts", State: "on", Counts: map[string]uint64{
		"under_way": uint64(flights), "refusing": uint64(len(t.closed)), "today": uint64(t.today), "daily": uint64(c.Daily),
	}}
	for _, name := range counted {
		report.Counts[strings.ReplaceAll(name, "-", "_")] = t.counts[name]
	}
	var why []string
	if t.today >= int64(c.Daily) {
		report.State = "spent"
		why = append(why, "nobody is asked until the limit daily allows it again")
	}
	if len(t.closed) > 0 {
		why = append(why, fmt.Sprintf("left alone because they refuse us: %s", t.refusing()))
	}
	report.Why = strings.Join(why, "; ")
	return []checks.Condition{report}
}

// refusing lists mail hosts that refuse us, for people: who does so longest from now on comes first.
func (t *tally) refusing() string {
	var hosts []string
	for host := range t.closed {
		hosts = append(hosts, host)
	}
	slices.SortFunc(hosts, func(a, b string) int {
		if c := t.closed[b].until.Compare(t.closed[a].until); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	var list []string
	for _, host := range hosts[:min(shownClosed, len(hosts))] {
		cl := t.closed[host]
		list = append(list, fmt.Sprintf("%s until %s (%s)", checks.Clean(host, maxShown), cl.until.UTC().Format(time.RFC3339), cl.reply))
	}
	if more := len(hosts) - shownClosed; more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, ", ")
}
