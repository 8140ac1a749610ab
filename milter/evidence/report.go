package evidence

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"milterd/checks"
)

// Threshold is what is asked for before a reason is called safe to enforce. That none of a hundred occasions was a good sender's
// means, with 95 % confidence, that no more than three of a hundred are.
type Threshold struct {
	Occasions int `json:"occasions"` // so many at least
	Clients   int `json:"clients"`   // of so many clients
	Days      int `json:"days"`      // so far between the first and the last occasion
	OneIn     int `json:"one_in"`    // no more than one of so many occasions may be a good sender's
}

// Required is the threshold of all reports.
func Required() Threshold { return Threshold{Occasions: 100, Clients: 20, Days: 14, OneIn: 1000} }

const (
	deliversDays = 3 // with clean messages
	regularDays  = 4 // with messages that a reason let in
	regularSpan  = 14 * 24 * time.Hour
	forgedDays   = 2 // for somebody who was written to, but may be forged
	lostAfter    = 2 * 24 * time.Hour
	// maxSenders is how many senders a report names for each reason.
	maxSenders = 50
)

// Verdict is what follows for a watched reason.
type Verdict string

// The verdicts.
const (
	Safe    Verdict = "safe"    // to enforce
	Unsafe  Verdict = "unsafe"  // because of the good senders that it would refuse
	Unknown Verdict = "unknown" // too little was seen yet
	Never   Verdict = "never"   // the reason can only be watched
)

// String is the verdict in words.
func (v Verdict) String() string {
	return map[Verdict]string{
		Safe: "safe to enforce", Unsafe: "not safe", Unknown: "too little seen yet", Never: "can only be watched",
	}[v]
}

// Setting is what is configured for a reason: its actions, for everyone and in policies.
type Setting struct {
	Check   string
	Reason  *checks.Reason
	Actions []checks.Action
}

// action is the mildest one from some action on; off if there is none.
func (s Setting) action(from checks.Action) checks.Action {
	found := checks.Off
	for _, a := range s.Actions {
		if a >= from && (found == checks.Off || a < found) {
			found = a
		}
	}
	return found
}

// WatchReport tells for reasons that let mail in what would follow if they were enforced.
type WatchReport struct {
	Since     time.Time `json:"since"`
	Until     time.Time `json:"until"`
	Threshold Threshold `json:"threshold"`
	Lost      uint64    `json:"lost"` // transactions of which this daemon lost the evidence since its start
	Reasons   []Watched `json:"reasons"`
}

// Watched is the evidence on a reason whose action is watch, or greylist: what comes back is let in then.
type Watched struct {
	Reason  string    `json:"reason"`
	Check   string    `json:"check"`
	Action  string    `json:"action"`
	Verdict Verdict   `json:"verdict"`
	Why     string    `json:"why"` // a sentence, with names of senders, printable US-ASCII
	First   time.Time `json:"first,omitzero"`
	Last    time.Time `json:"last,omitzero"`

	Occasions int `json:"occasions"`
	Days      int `json:"days"`   // on which there were any
	Passed    int `json:"passed"` // messages that were let in
	Anyway    int `json:"anyway"` // transactions that were refused for another reason: nothing would change for them
	Good      int `json:"good"`   // occasions of good senders

	Clients     int      `json:"clients"`
	Accepted    int      `json:"accepted"` // clients that sent clean messages too
	SPF         int      `json:"spf"`      // clients that passed SPF
	Answered    int      `json:"answered"` // clients of senders who were written to
	Senders     int      `json:"senders"`
	GoodSenders int      `json:"good_senders"`
	Affected    []Sender `json:"affected"` // at most 50, the good ones first, then by occasions
}

// Sender is a sender that a reason applied to. Names are remote bytes.
type Sender struct {
	Sender    string    `json:"sender"` // domain; empty: bounces of the client
	Client    string    `json:"client"` // the one with the most occasions
	Own       bool      `json:"own"`    // the client may speak for the domain; else it stands for this client's use of it alone
	SPF       bool      `json:"spf"`
	Occasions int       `json:"occasions"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	Clean     int       `json:"clean"` // clean messages of the sender
	Good      string    `json:"good"`  // why it is: answered, delivers, regular; empty: it is not known to be
}

// Name is the sender in one word, for people: printable US-ASCII.
func (s Sender) Name() string {
	const shown = 80
	client, sender := checks.Clean(s.Client, shown), checks.Clean(s.Sender, shown)
	switch {
	case sender == "":
		return "<> of " + client
	case s.Own:
		return sender
	default:
		return sender + " from " + client
	}
}

// ActionReport tells of enforced reasons whom they refused or held, and who of them was found good.
type ActionReport struct {
	Since   time.Time  `json:"since"`
	Until   time.Time  `json:"until"`
	Lost    uint64     `json:"lost"` // as in WatchReport
	Reasons []Enforced `json:"reasons"`
}

// Enforced is the evidence on a reason that refuses or holds.
type Enforced struct {
	Reason  string    `json:"reason"`
	Check   string    `json:"check"`
	Action  string    `json:"action"`
	Refused int       `json:"refused"` // transactions
	Held    int       `json:"held"`    // transactions that were greylisted for it
	Clients int       `json:"clients"` // that were refused or held
	First   time.Time `json:"first,omitzero"`
	Last    time.Time `json:"last,omitzero"`

	// HeldSenders are those who were held, CameBack those among them of whom a message was let in later. That is what greylisting
	// is for: they are not wronged.
	HeldSenders int `json:"held_senders"`
	CameBack    int `json:"came_back"`

	// Wronged are likely false refusals, at most 50 of WrongedSenders: good senders who were refused, and good ones that were held
	// and did not come back within two days. One that delivers has done so after it was refused.
	WrongedSenders int      `json:"wronged_senders"`
	Wronged        []Sender `json:"wronged"`
}

// Watch makes the report on reasons that let mail in. settings are in the order of the report.
func (b *Book) Watch(ctx context.Context, settings []Setting) (WatchReport, error) {
	watch, _, err := b.Reports(ctx, settings)
	return watch, err
}

// Action makes the report on reasons that refused or held something, or would.
func (b *Book) Action(ctx context.Context, settings []Setting) (ActionReport, error) {
	_, action, err := b.Reports(ctx, settings)
	return action, err
}

// Reports makes both of the same evidence.
func (b *Book) Reports(ctx context.Context, settings []Setting) (WatchReport, ActionReport, error) {
	l, err := b.ledger(ctx)
	if err != nil {
		return WatchReport{}, ActionReport{}, err
	}
	watch := WatchReport{Since: l.since, Until: l.until, Threshold: Required(), Lost: b.Lost(), Reasons: []Watched{}}
	action := ActionReport{Since: l.since, Until: l.until, Lost: b.Lost(), Reasons: []Enforced{}}
	for _, s := range settings {
		if a := s.action(checks.Watch); a == checks.Watch || a == checks.Greylist {
			watch.Reasons = append(watch.Reasons, l.watched(s))
		}
		if sum := l.sums[s.Reason.ID]; sum.Refused.N+sum.Held.N > 0 {
			action.Reasons = append(action.Reasons, l.enforced(s))
		}
	}
	return watch, action, nil
}

// ledger is all evidence, made ready for judging.
type ledger struct {
	since, until time.Time
	sums         hits
	entries      []*entry
	domains      map[string]*standing // of senders whose client may speak for them
	clients      map[string]*standing
}

// standing is what somebody has earned, whatever a single sender did.
type standing struct {
	entry
}

func (b *Book) ledger(ctx context.Context) (*ledger, error) {
	soon, cancel := context.WithTimeout(ctx, settleFor)
	_ = b.Flush(soon) // without, the last minute is missing
	cancel()
	now := b.opts.Now()
	entries, sums, err := b.read(ctx, now)
	if err != nil {
		return nil, err
	}
	l := &ledger{
		since: time.Unix((week(now)-weeks+1)*weekSeconds, 0).UTC(), until: now.UTC(), sums: sums, entries: entries,
		domains: map[string]*standing{}, clients: map[string]*standing{},
	}
	for _, e := range entries {
		if err := b.answer(ctx, e, now); err != nil {
			return nil, err
		}
		earn(l.clients, e.Client, e)
		if e.Own {
			earn(l.domains, e.Sender, e)
		}
	}
	return l, nil
}

// answer finds out whether somebody was written to, by now.
func (b *Book) answer(ctx context.Context, e *entry, now time.Time) error {
	need := forgedDays
	if e.Own {
		need = 1
	}
	e.answered = e.Known.days() >= need
	if e.answered || e.all().days() < need {
		return nil
	}
	for _, pair := range e.Pairs {
		known, err := b.opts.Known(ctx, pair, now)
		if err != nil {
			return err
		}
		e.answered = e.answered || known
	}
	return nil
}

// earn adds what an entry says for and against somebody.
func earn(of map[string]*standing, name string, e *entry) {
	if len(e.Clean) == 0 && e.Against.N == 0 && !e.answered {
		return
	}
	st := of[name]
	if st == nil {
		st = &standing{}
		of[name] = st
	}
	st.add(&entry{Against: e.Against, Clean: e.Clean, Hits: e.Hits})
	st.answered = st.answered || e.answered
}

// Why a sender is good.
const (
	answered = "answered"
	delivers = "delivers"
	regular  = "regular"
)

// good tells why a sender is, as far as a reason cannot know it; empty: it is not known to be. See the package's comment.
func (l *ledger) good(e *entry, reason string) (why string, clean tally) {
	own := l.clients[e.Client]
	if e.Own {
		own = l.domains[e.Sender]
	}
	clean = own.delivered(reason)
	switch {
	case e.answered || e.Own && own != nil && own.answered:
		return answered, clean
	case own.delivers(reason):
		return delivers, clean
	case l.clients[e.Client].delivers(reason):
		return delivers, l.clients[e.Client].delivered(reason)
	}
	h := e.Hits[reason]
	if span := time.Duration(h.Passed.Last-h.Passed.First) * time.Second; h.Passed.days() >= regularDays && span >= regularSpan && e.Against.N <= h.Spoke {
		return regular, clean
	}
	return "", clean
}

// delivered are the clean messages to which the reason did not apply.
func (s *standing) delivered(reason string) tally {
	if s == nil {
		return tally{}
	}
	return s.clean(reason)
}

func (s *standing) delivers(reason string) bool {
	clean := s.delivered(reason)
	if clean.days() < deliversDays {
		return false
	}
	return clean.N > s.Against.N-s.Hits[reason].Spoke
}

// affected collects senders that a reason applied to.
type affected struct {
	senders map[id]*Sender
	most    map[id]int // occasions of the client that is named
	clients map[string]bool
}

func newAffected() *affected {
	return &affected{map[id]*Sender{}, map[id]int{}, map[string]bool{}}
}

// add counts an entry for its sender: hosts of several clients may speak for one.
func (a *affected) add(e *entry, t tally, why string, clean tally) {
	a.clients[clientOf(e)] = true
	at := e.id()
	if e.Own {
		at.client = ""
	}
	s := a.senders[at]
	if s == nil {
		s = &Sender{Sender: e.Sender, Own: e.Own, First: clock(t.First), Clean: clean.N}
		a.senders[at] = s
	}
	if t.N > a.most[at] {
		s.Client, a.most[at] = e.Client, t.N
	}
	s.SPF = s.SPF || e.SPF
	s.Occasions += t.N
	if first := clock(t.First); first.Before(s.First) {
		s.First = first
	}
	if last := clock(t.Last); last.After(s.Last) {
		s.Last = last
	}
	s.Good = cmp.Or(s.Good, why)
	s.Clean = max(s.Clean, clean.N)
}

// list has the good ones first, then those with the most occasions.
func (a *affected) list() []Sender {
	list := []Sender{} // [] in JSON
	for _, s := range a.senders {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(x, y Sender) int {
		if (x.Good == "") != (y.Good == "") {
			return strings.Compare(y.Good, x.Good) // what is not empty first
		}
		return cmp.Or(cmp.Compare(y.Occasions, x.Occasions), strings.Compare(x.Sender, y.Sender), strings.Compare(x.Client, y.Client))
	})
	return list[:min(len(list), maxSenders)]
}

// clientOf is the identity of a client without the network that narrows it.
func clientOf(e *entry) string {
	name, _, _ := strings.Cut(e.Client, " ")
	return name
}

func clock(unix int64) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(unix, 0).UTC()
}

// watched judges a reason that lets mail in.
func (l *ledger) watched(s Setting) Watched {
	w := Watched{Reason: s.Reason.ID, Check: s.Check, Action: s.action(checks.Watch).String()}
	sum := l.sums[w.Reason]
	w.Occasions, w.Days, w.Passed, w.Anyway = sum.Seen.N, sum.Seen.days(), sum.Passed.N, sum.Anyway
	w.First, w.Last = clock(sum.Seen.First), clock(sum.Seen.Last)
	senders := newAffected()
	accepted, spf, known := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, e := range l.entries {
		h, there := e.Hits[w.Reason]
		if !there {
			continue
		}
		why, clean := l.good(e, w.Reason)
		senders.add(e, h.Seen, why, clean)
		if why != "" {
			w.Good += h.Seen.N
		}
		client := clientOf(e)
		if clean.N > 0 {
			accepted[client] = true
		}
		if e.SPF {
			spf[client] = true
		}
		if e.answered {
			known[client] = true
		}
	}
	w.Clients, w.Accepted, w.SPF, w.Answered = len(senders.clients), len(accepted), len(spf), len(known)
	w.Senders, w.Affected = len(senders.senders), senders.list()
	for _, s := range senders.senders {
		if s.Good != "" {
			w.GoodSenders++
		}
	}
	w.Verdict = w.verdict(s.Reason)
	w.Why = w.why()
	return w
}

// verdict applies the threshold. A few good senders are enough to say no, many others are not enough to say yes.
func (w *Watched) verdict(r *checks.Reason) Verdict {
	span, required := w.Last.Sub(w.First), Required()
	switch {
	case r.Most == checks.Watch:
		return Never
	case w.Good*required.OneIn > w.Occasions:
		return Unsafe
	case w.Occasions < required.Occasions || w.Clients < required.Clients || span < time.Duration(required.Days)*24*time.Hour:
		return Unknown
	default:
		return Safe
	}
}

// why is the verdict's sentence.
func (w *Watched) why() string {
	const named = 5
	var names []string
	for _, s := range w.Affected {
		if s.Good != "" && len(names) < named {
			names = append(names, fmt.Sprintf("%s (%d, %s)", s.Name(), s.Occasions, s.Good))
		}
	}
	who := strings.Join(names, ", ")
	if more := w.GoodSenders - len(names); more > 0 {
		who += fmt.Sprintf(" and %d more", more)
	}
	required := Required()
	switch days := int(w.Last.Sub(w.First) / (24 * time.Hour)); {
	case w.Verdict == Never:
		return ""
	case w.Verdict == Unsafe:
		return "because of " + who
	case w.Occasions == 0:
		return "never seen"
	case w.Verdict == Unknown:
		return fmt.Sprintf("%d of %d occasions, %d of %d clients, %d of %d days",
			w.Occasions, required.Occasions, w.Clients, required.Clients, days, required.Days)
	case w.Good > 0:
		return fmt.Sprintf("no more than one occasion in %d is a good sender's: %s", required.OneIn, who)
	default:
		return "none of these is a known good sender"
	}
}

// enforced judges a reason that refuses or holds.
func (l *ledger) enforced(s Setting) Enforced {
	e := Enforced{Reason: s.Reason.ID, Check: s.Check, Action: s.action(checks.Greylist).String()}
	sum := l.sums[e.Reason]
	e.Refused, e.Held = sum.Refused.N, sum.Held.N
	all := sum.Refused.plus(sum.Held)
	e.First, e.Last = clock(all.First), clock(all.Last)
	met, wronged := newAffected(), newAffected()
	for _, sender := range l.entries {
		h := sender.Hits[e.Reason]
		if h.Refused.N+h.Held.N == 0 {
			continue
		}
		why, clean := l.good(sender, e.Reason)
		met.add(sender, h.Refused.plus(h.Held), why, clean)
		if h.Refused.N > 0 && (why == answered || why == delivers && clean.Last > h.Refused.First) {
			wronged.add(sender, h.Refused, why, clean)
		}
		if h.Held.N == 0 {
			continue
		}
		e.HeldSenders++
		switch later := max(h.Passed.Last, sender.clean(e.Reason).Last); {
		case later >= h.Held.Last:
			e.CameBack++
		case (why == answered || why == delivers) && l.until.Sub(clock(h.Held.Last)) > lostAfter:
			wronged.add(sender, h.Held, why, clean)
		}
	}
	e.Clients = len(met.clients)
	e.WrongedSenders, e.Wronged = len(wronged.senders), wronged.list()
	return e
}
