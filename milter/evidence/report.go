package evidence

import (
	"context"
	"time"

	"milterd/checks"
)

// Threshold is the evidence that a reason needs to be safe to enforce. If none of 100 occasions is a good sender's, then
// with 95 % confidence at most 3 of 100 are.
type Threshold struct {
	Occasions int `json:"occasions"` // at least
	Clients   int `json:"clients"`   // at least
	Days      int `json:"days"`      // at least, between the first and the last occasion
	OneIn     int `json:"one_in"`    // at most one of so many occasions is a good sender's
}

// Required returns the threshold of all reports.
func Required() Threshold { return Threshold{Occasions: 100, Clients: 20, Days: 14, OneIn: 1000} }

// Verdict says whether a watched reason should be enforced.
type Verdict string

// The verdicts.
const (
	Safe    Verdict = "safe"    // to enforce
	Unsafe  Verdict = "unsafe"  // good senders would be refused
	Unknown Verdict = "unknown" // there is too little evidence
	Never   Verdict = "never"   // the reason can only be watched
)

// String returns the verdict in words.
func (v Verdict) String() string {
	return map[Verdict]string{
		Safe: "safe to enforce", Unsafe: "not safe", Unknown: "too little seen yet", Never: "can only be watched",
	}[v]
}

// Setting is a reason with its configured actions: the general one and those of the policies.
type Setting struct {
	Check   string
	Reason  *checks.Reason
	Actions []checks.Action
}

// action returns the mildest action that is not below least, or Off if there is none.
func (s Setting) action(least checks.Action) checks.Action {
	found := checks.Off
	for _, a := range s.Actions {
		if a >= least && (found == checks.Off || a < found) {
			found = a
		}
	}
	return found
}

// WatchReport has the evidence on reasons for which no mail is refused: those with the action watch, tag, greylist or
// quarantine.
type WatchReport struct {
	Since     time.Time `json:"since"`
	Until     time.Time `json:"until"`
	Threshold Threshold `json:"threshold"`
	Lost      uint64    `json:"lost"` // see Collector.Lost
	Reasons   []Watched `json:"reasons"`
}

// Watched is the evidence on a reason for which no mail is refused. An occasion of a reason is a mail transaction
// that it applied to, with however many recipients.
type Watched struct {
	Reason  string    `json:"reason"`
	Check   string    `json:"check"`
	Action  string    `json:"action"`
	Verdict Verdict   `json:"verdict"`
	Why     string    `json:"why"` // a sentence with names of senders, in printable US-ASCII
	First   time.Time `json:"first,omitzero"`
	Last    time.Time `json:"last,omitzero"`

	Occasions        int `json:"occasions"`
	Days             int `json:"days"`   // with an occasion
	Passed           int `json:"passed"` // accepted messages
	RefusedOtherwise int `json:"anyway"` // occasions that were refused for another reason
	Good             int `json:"good"`   // occasions of good senders

	Clients     int      `json:"clients"`
	Accepted    int      `json:"accepted"` // clients that sent clean messages too
	SPF         int      `json:"spf"`      // clients that passed SPF
	Answered    int      `json:"answered"` // clients with a sender to which a user of this site wrote
	Senders     int      `json:"senders"`
	GoodSenders int      `json:"good_senders"`
	Affected    []Sender `json:"affected"` // at most maxSenders, the good ones first, then by occasions
}

// maxSenders is how many senders a report names for each reason.
const maxSenders = 50

// Sender is a sender of mail that a reason applied to. Its names are remote bytes.
type Sender struct {
	Sender    string    `json:"sender"` // domain; empty for bounces of the client
	Client    string    `json:"client"` // the client with the most occasions
	Verified  bool      `json:"own"`    // see Origin; if not, the sender is the domain as this client uses it
	SPF       bool      `json:"spf"`
	Occasions int       `json:"occasions"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	Clean     int       `json:"clean"` // clean messages
	Good      string    `json:"good"`  // answered, delivers or regular; empty if the sender is not known to be good
}

// Name returns the sender for people, in printable US-ASCII.
func (s Sender) Name() string {
	const shown = 80
	client, sender := checks.Clean(s.Client, shown), checks.Clean(s.Sender, shown)
	switch {
	case sender == "":
		return "<> of " + client
	case s.Verified:
		return sender
	default:
		return sender + " from " + client
	}
}

// ActionReport has the evidence on reasons that refused, greylisted or quarantined mail.
type ActionReport struct {
	Since   time.Time  `json:"since"`
	Until   time.Time  `json:"until"`
	Lost    uint64     `json:"lost"` // see Collector.Lost
	Reasons []Enforced `json:"reasons"`
}

// Enforced is the evidence on a reason that refused, greylisted or quarantined mail.
type Enforced struct {
	Reason  string    `json:"reason"`
	Check   string    `json:"check"`
	Action  string    `json:"action"`
	Refused int       `json:"refused"` // transactions
	Held    int       `json:"held"`    // transactions that were greylisted for the reason
	Clients int       `json:"clients"` // that were refused, held or quarantined
	First   time.Time `json:"first,omitzero"`
	Last    time.Time `json:"last,omitzero"`

	Quarantined int `json:"quarantined"` // messages

	HeldSenders int `json:"held_senders"`
	CameBack    int `json:"came_back"` // of HeldSenders, those with an accepted message afterwards

	// Wronged are the likely false refusals, at most maxSenders of WrongedSenders: good senders that were refused or
	// quarantined, and good senders that were held and did not come back within lostAfter.
	WrongedSenders int      `json:"wronged_senders"`
	Wronged        []Sender `json:"wronged"`
}

// Reports returns the reports on reasons for which no mail is refused, and on reasons that refused, greylisted or quarantined mail, both
// on the same evidence and in the order of the settings.
func (c *Collector) Reports(ctx context.Context, settings []Setting) (WatchReport, ActionReport, error) {
	data, err := c.reportData(ctx)
	if err != nil {
		return WatchReport{}, ActionReport{}, err
	}
	watch := WatchReport{Since: data.since, Until: data.until, Threshold: Required(), Lost: c.Lost(), Reasons: []Watched{}}
	action := ActionReport{Since: data.since, Until: data.until, Lost: c.Lost(), Reasons: []Enforced{}}
	for _, s := range settings {
		if a := s.action(checks.Watch); a != checks.Off && !a.Enforced() {
			watch.Reasons = append(watch.Reasons, data.watched(s))
		}
		if sum := data.sums[s.Reason.ID]; sum.Refused.N+sum.Held.N+sum.Quarantined.N > 0 {
			action.Reasons = append(action.Reasons, data.enforced(s))
		}
	}
	return watch, action, nil
}

// reportData is what a report reads, with sums of the entries of each sender and of each client.
type reportData struct {
	since, until time.Time
	sums         reasonCounts // of all entries, and of those that the store had no room for
	entries      []*entry
	senders      map[string]*entry // verified ones
	clients      map[string]*entry
}

// reportData reads the evidence of all hosts.
func (c *Collector) reportData(ctx context.Context) (*reportData, error) {
	_ = c.Flush(ctx) // the report works without the last minute too
	now := c.opts.Now()
	entries, sums, err := c.read(ctx, now)
	if err != nil {
		return nil, err
	}
	d := &reportData{
		since: firstDay(now), until: now.UTC(), sums: sums, entries: entries,
		senders: map[string]*entry{}, clients: map[string]*entry{},
	}
	for _, e := range entries {
		if err := c.findAnswered(ctx, e, now); err != nil {
			return nil, err
		}
		if e.Clean.N == 0 && e.Against.N == 0 && !e.answered {
			continue // it says nothing for or against the sender
		}
		if e.Client != unknownClient { // any number of clients
			addTo(d.clients, e.Client, e)
		}
		if e.Verified {
			addTo(d.senders, e.Sender, e)
		}
	}
	return d, nil
}

// firstDay returns the beginning of the weeks that a report reads.
func firstDay(now time.Time) time.Time {
	return time.Unix((week(now)-weeks+1)*weekSeconds, 0).UTC()
}

// addTo adds an entry to the sum of a name.
func addTo(sums map[string]*entry, name string, e *entry) {
	sum := sums[name]
	if sum == nil {
		sum = &entry{Client: name}
		sums[name] = sum
	}
	sum.add(e)
	sum.answered = sum.answered || e.answered
}
