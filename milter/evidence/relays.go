package evidence

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"milterd/milter/periodic"
)

// A relay of other people's mail, such as a mailing list or a forwarder, breaks SPF and sometimes DKIM of what it passes on.
// A domain is a known relay if it has brought mail of relayAuthors author domains or more, over relaySpan or more, is a good
// sender, and nothing was refused that speaks against it.
//
// Half of relayAuthors would take a company with three brands for a relay; twice as many would miss most forwarders of single
// persons. With half of relaySpan, one campaign of a spammer would do; with twice as much, a new list is unknown for longer.
const (
	relayAuthors = 5
	relaySpan    = 7 * 24 * time.Hour
)

// refreshInterval is how often the index is read anew. With half of it, the store is read twice as often; with
// twice as much, a sender is known two hours later.
const refreshInterval = time.Hour

// refreshTimeout bounds one reading of the whole evidence.
const refreshTimeout = time.Minute

// senderIndex has the domains that IsGood and Relays look up. It never changes.
type senderIndex struct{ good, relays map[string]bool }

// IsGood implements checks.Senders. What it says is up to an hour old.
func (c *Collector) IsGood(domain string) bool {
	index := c.index.Load()
	return index != nil && index.good[domain]
}

// Relays implements checks.Senders. What it says is up to an hour old.
func (c *Collector) Relays(domain string) bool {
	index := c.index.Load()
	return index != nil && index.relays[domain]
}

// refreshPeriodically reads the index until the Collector is closed.
func (c *Collector) refreshPeriodically() {
	refresh := func() {
		ctx, cancel := context.WithTimeout(c.ctx, refreshTimeout)
		defer cancel()
		_ = c.refresh(ctx) // the index of before stays
	}
	refresh()
	periodic.Run(c.ctx, refreshInterval, refresh)
}

// refresh reads the index from the store.
func (c *Collector) refresh(ctx context.Context) error {
	entries, _, err := c.read(ctx, c.opts.Now())
	if err != nil {
		return err
	}
	c.index.Store(newSenderIndex(entries))
	return nil
}

func newSenderIndex(entries []*entry) *senderIndex {
	index := &senderIndex{good: map[string]bool{}, relays: map[string]bool{}}
	for domain, sum := range domainSums(entries) {
		if sum.isGood() {
			index.good[domain] = true
			index.relays[domain] = sum.hasRelayed() && sum.Against.N == 0
		}
	}
	return index
}

// addRelayed counts an accepted message once if one of its authors is neither the client nor the verified sender.
func (e *entry) addRelayed(authors []string, once tally) {
	for _, a := range authors {
		if a != "" && a != e.clientDomain() && (!e.Verified || a != e.Sender) {
			e.addAuthor(a)
			e.Relayed = once
		}
	}
}

// domainSums returns the sums of the entries of each domain, whether it is the client's or that of a verified sender.
func domainSums(entries []*entry) map[string]*entry {
	sums := map[string]*entry{}
	for _, e := range entries {
		client := e.clientDomain()
		if client != "" {
			addTo(sums, client, e)
		}
		if e.Verified && e.Sender != "" && e.Sender != client {
			addTo(sums, e.Sender, e)
		}
	}
	return sums
}

// isGood reports whether the sum of a domain is that of a good sender.
func (e *entry) isGood() bool {
	if e.answered || e.delivers("") {
		return true
	}
	for reason := range e.Reasons {
		if e.isRegular(reason) {
			return true
		}
	}
	return false
}

// hasRelayed reports whether mail of enough others came for long enough.
func (e *entry) hasRelayed() bool {
	return len(e.Authors) >= relayAuthors && time.Duration(e.Relayed.Last-e.Relayed.First)*time.Second >= relaySpan
}

// ForwarderReport has the clients that have passed on mail of others for long enough to be forwarders or lists.
type ForwarderReport struct {
	Since      time.Time   `json:"since"`
	Until      time.Time   `json:"until"`
	Lost       uint64      `json:"lost"`       // see Collector.Lost
	Forwarders []Forwarder `json:"forwarders"` // at most maxSenders, those with the most messages first
}

// Forwarder is a client that has passed on mail of others. Its names are remote bytes.
type Forwarder struct {
	Client   string    `json:"client"`   // domain of its confirmed names, domain for which it passes SPF, or network
	SPF      bool      `json:"spf"`      // the domain is known only by SPF
	Messages int       `json:"messages"` // accepted ones, of other authors
	Days     int       `json:"days"`     // with such a message
	Authors  []string  `json:"authors"`  // some of the organisational domains of these authors
	Against  int       `json:"against"`  // transactions that speak against it
	Known    bool      `json:"known"`    // Relays reports true for it
	First    time.Time `json:"first"`    // of these messages
	Last     time.Time `json:"last"`     // of these messages
}

// Forwarders returns the report on forwarders.
func (c *Collector) Forwarders(ctx context.Context) (ForwarderReport, error) {
	_ = c.Flush(ctx) // the report works without the last minute too
	now := c.opts.Now()
	entries, _, err := c.read(ctx, now)
	if err != nil {
		return ForwarderReport{}, err
	}
	index := newSenderIndex(entries)
	c.index.Store(index)
	r := ForwarderReport{Since: firstDay(now), Until: now.UTC(), Lost: c.Lost(), Forwarders: []Forwarder{}}
	sums, named := map[string]*entry{}, map[string]bool{}
	for _, e := range entries {
		name := e.clientName()
		addTo(sums, name, e)
		named[name] = named[name] || name != e.Client
	}
	for name, sum := range sums {
		if name != unknownClient && sum.hasRelayed() {
			r.Forwarders = append(r.Forwarders, Forwarder{
				Client: name, SPF: sum.clientDomain() != "" && !named[name], Messages: sum.Relayed.N, Days: sum.Relayed.days(),
				Authors: sum.Authors, Against: sum.Against.N, Known: index.relays[name],
				First: unixTime(sum.Relayed.First), Last: unixTime(sum.Relayed.Last),
			})
		}
	}
	slices.SortFunc(r.Forwarders, func(x, y Forwarder) int {
		return cmp.Or(cmp.Compare(y.Messages, x.Messages), strings.Compare(x.Client, y.Client))
	})
	r.Forwarders = r.Forwarders[:min(len(r.Forwarders), maxSenders)]
	return r, nil
}
