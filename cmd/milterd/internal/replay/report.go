package replay

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"milterd/checks"
	"milterd/cmd/milterd/internal/mailbox"
	"milterd/cmd/milterd/internal/received"
)

// Report is the result of a replay. Its methods Text, JSON and HTML write it.
type Report struct {
	Config      string        `json:"-"`        // name of the configuration; empty for the defaults
	Messages    int           `json:"messages"` // found, including unreadable ones
	Judged      int           `json:"judged"`
	Trusted     int           `json:"trusted,omitempty"` // not checked, because the configuration trusts the client
	Unreadable  int           `json:"unreadable"`
	NoTime      int           `json:"-"`                     // it is not known when they were received, so their dates were not judged
	Refused     int           `json:"refused"`               // rejected or deferred
	Rejected    int           `json:"-"`                     // of Refused
	Held        int           `json:"held"`                  // of Refused: greylisted
	Quarantined int           `json:"quarantined"`           // accepted, and quarantined
	Interrupted bool          `json:"interrupted,omitempty"` // the report is about a part of the messages
	First, Last time.Time     `json:"-"`                     // when messages were received; zero if that is not known of any
	Took        time.Duration `json:"-"`

	reasons  []*reasonCount // in the order of the checks
	byReason map[*checks.Reason]*reasonCount
	checks   []string               // in order
	gaps     map[gap]int            // messages
	faults   []fault                // the first of the unreadable messages
	noBorder int                    // messages without a Received field of the site
	hosts    tally                  // of those messages, by the host that wrote the topmost Received field
	days     map[int64]*actionCount // by days since 1970
	changes  *changes               // nil if there was nothing to compare with
}

// reasonCount counts the messages to which a reason applied.
type reasonCount struct {
	ID, Check string
	Action    checks.Action         // the most severe one
	actions   map[checks.Action]int // messages; a bounce may be watched for what other mail is refused for
	Example   string                // text of the first reply
	Senders   tally
	Hits      []*hit
}

// actionCount counts messages by what became of them.
type actionCount struct{ Accepted, Deferred, Rejected int }

// Total returns the number of all messages.
func (c actionCount) Total() int { return c.Accepted + c.Deferred + c.Rejected }

// fault is why a message could not be read.
type fault struct{ Place, Why string }

// maxFaults is how many faults are shown; the others are counted. Half of it hides some of the kinds of fault
// in a folder, twice as many fill the screen.
const maxFaults = 100

func newReport(config string, base *judge) *Report {
	r := &Report{
		Config: config, byReason: map[*checks.Reason]*reasonCount{}, gaps: map[gap]int{}, hosts: tally{}, days: map[int64]*actionCount{},
	}
	add := func(check string, reasons []*checks.Reason) {
		r.checks = append(r.checks, check)
		for _, reason := range reasons {
			c := &reasonCount{ID: reason.ID, Check: check, actions: map[checks.Action]int{}, Senders: tally{}}
			r.reasons = append(r.reasons, c)
			r.byReason[reason] = c
		}
	}
	for _, inst := range base.instances {
		add(inst.Info.Name, inst.Info.Reasons)
	}
	add("policy", checks.PipelineReasons())
	return r
}

// addFault adds a message that could not be read.
func (r *Report) addFault(m mailbox.Message) {
	r.Messages++
	r.Unreadable++
	if len(r.faults) < maxFaults {
		r.faults = append(r.faults, fault{Place: hit{Path: m.File, Number: m.Number}.Place(), Why: m.Err.Error()})
	}
}

// add adds the result of a message.
func (r *Report) add(m *mail, res result) {
	r.Messages++
	r.addTime(res)
	if res.facts.Known&received.Time == 0 {
		r.NoTime++
	}
	if res.facts.Known&^(received.Time|received.Sender|received.Content) == 0 && !res.facts.Local && m.attempt == nil {
		r.noBorder++
		r.hosts.add(res.facts.By)
	}
	if res.trusted {
		r.Trusted++
		return
	}
	r.Judged++
	if res.action.Enforced() {
		r.Refused++
	}
	if res.reason != nil && res.reason.Greylisting {
		r.Held++
	}
	switch res.action {
	case checks.Reject:
		r.Rejected++
	case checks.Quarantine:
		r.Quarantined++
	}
	for _, g := range res.allGaps() {
		r.gaps[g]++
	}
	r.addOutcomes(m, res)
}

// addTime counts a message for its day. A trusted one counts as accepted.
func (r *Report) addTime(res result) {
	if res.facts.Known&received.Time == 0 {
		return
	}
	r.Last = res.facts.Time
	if r.First.IsZero() {
		r.First = r.Last
	}
	const seconds = 24 * 60 * 60
	day := r.Last.Unix() / seconds
	if r.days[day] == nil {
		r.days[day] = &actionCount{}
	}
	switch c := r.days[day]; res.action {
	case checks.Reject:
		c.Rejected++
	case checks.Tempfail:
		c.Deferred++
	default:
		c.Accepted++
	}
}

// allGaps returns why checks did not judge the message, each once.
func (r result) allGaps() []gap {
	list := slices.Clone(r.gaps)
	for _, f := range r.failures {
		g := gap{Check: f.Check, Why: "could not find out"}
		for _, known := range []error{errNotAsked, errKeyGone} {
			if errors.Is(f.Err, known) {
				g.Why = known.Error()
			}
		}
		if !slices.Contains(list, g) {
			list = append(list, g)
		}
	}
	return list
}

// addOutcomes counts the message for each reason that applied.
func (r *Report) addOutcomes(m *mail, res result) {
	var h *hit // one for all reasons
	var seen []*reasonCount
	for _, o := range res.outcomes {
		c := r.byReason[o.Reason]
		if c == nil || slices.Contains(seen, c) {
			continue
		}
		seen = append(seen, c)
		c.Action = max(c.Action, o.Action)
		c.actions[o.Action]++
		if h == nil {
			h = newHit(m, res.facts)
		}
		c.Hits = append(c.Hits, h)
		c.Senders.add(senderDomain(res.facts))
		c.Example = cmp.Or(c.Example, o.Reply.Text)
	}
}

// ActionText returns the action, such as "reject", or if there are several, each with its messages: "reject 2, watch 9".
func (c *reasonCount) ActionText() string {
	if len(c.actions) == 1 {
		return c.Action.String()
	}
	var list []string
	for _, a := range slices.Backward(slices.Sorted(maps.Keys(c.actions))) {
		list = append(list, fmt.Sprintf("%s %d", a, c.actions[a]))
	}
	return strings.Join(list, ", ")
}

// applied returns the reasons that applied to a message, in the order of the checks.
func (r *Report) applied() []*reasonCount {
	return slices.DeleteFunc(slices.Clone(r.reasons), func(c *reasonCount) bool { return len(c.Hits) == 0 })
}

// gapCount is the messages that a check did not judge.
type gapCount struct {
	gap
	Count int
}

// gapCounts returns the gaps in the order of the checks.
func (r *Report) gapCounts() []gapCount {
	var list []gapCount
	for g, n := range r.gaps {
		list = append(list, gapCount{gap: g, Count: n})
	}
	slices.SortFunc(list, func(a, b gapCount) int {
		return cmp.Or(cmp.Compare(slices.Index(r.checks, a.Check), slices.Index(r.checks, b.Check)), cmp.Compare(a.Why, b.Why))
	})
	return list
}

// tally counts by name.
type tally map[string]int

func (t tally) add(name string) {
	if _, ok := t[name]; !ok {
		name = strings.Clone(name) // not the whole header
	}
	t[name]++
}

// nameCount is a name with its count.
type nameCount struct {
	Name  string
	Count int
}

// most returns the n names with the highest counts. A message without any Received field has no host; its name is "none".
func (t tally) most(n int) []nameCount {
	names := slices.SortedFunc(maps.Keys(t), func(a, b string) int { return cmp.Or(cmp.Compare(t[b], t[a]), cmp.Compare(a, b)) })
	var list []nameCount
	for _, name := range names[:min(n, len(names))] {
		list = append(list, nameCount{Name: cmp.Or(name, "none"), Count: t[name]})
	}
	return list
}
