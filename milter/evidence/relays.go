package evidence

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
)

// A relay, such as a mailing list or a forwarder, passes on mail of others, for which SPF and sometimes DKIM fails then.
// A domain is a known relay if it has brought mail of relayAuthors author domains or more, over relaySpan or more, is a good
// sender, and nothing speaks against it.
//
// Half of relayAuthors would take a company with three brands for a relay; twice as many would miss most forwarders of single
// persons. With half of relaySpan, one campaign of a spammer would do; with twice as much, a new list is unknown for longer.
const (
	relayAuthors = 5
	relaySpan    = 7 * 24 * time.Hour
)

// addRelayed counts an accepted message once if one of its authors is neither the client nor the verified sender.
func (e *entry) addRelayed(authors []string, once tally) {
	for _, a := range authors {
		if a != "" && a != e.clientDomain() && (!e.Verified || a != e.Sender) {
			e.addAuthor(a)
			e.Relayed = once
		}
	}
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
	c.index.Store(index) // Relays answers as the report says
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
