package replay

import (
	"errors"
	"slices"
	"time"

	"milterd/checks"
	"milterd/cmd/milterd/internal/received"
)

// Report is what a replay has found. Close gives its temporary files back.
type Report struct {
	Config, Against string // names of the configurations
	Messages        int    // found, those too that cannot be read
	Judged          int
	Trusted         int // not checked, by the configuration
	Unreadable      int
	Refused         int // by an enforced reason
	Rejected        int // of those, for good
	Interrupted     bool
	First, Last     time.Time // of the messages that tell a time
	Took            time.Duration

	reasons   []*reasonStat // in the order in which they decide
	byReason  map[*checks.Reason]*reasonStat
	checks    []string                  // in the order in which they run
	notJudged map[string]map[string]int // check -> why -> messages
	faults    []fault
	senders   tally // of refused messages
	noBorder  int   // messages without a field of the site's border
	hosts     tally // that wrote the uppermost fields of those
	days      map[int64]*day
	changes   *changes // nil: nothing to compare with
}

// reasonStat is what is to be told of a reason.
type reasonStat struct {
	id, check string
	action    checks.Action // the most severe
	sentence  string        // of its first reply
	senders   tally
	hits      hits
}

// fault is a message that could not be read.
type fault struct{ Place, Why string }

// maxFaults is how many of them are told one by one.
const maxFaults = 100

// day counts the messages of a day.
type day struct{ accepted, deferred, rejected int }

func newReport(base *side, opts Options) *Report {
	r := &Report{Config: opts.Config.Name, byReason: map[*checks.Reason]*reasonStat{}, notJudged: map[string]map[string]int{}, days: map[int64]*day{}}
	add := func(check string, reasons []*checks.Reason) {
		r.checks = append(r.checks, check)
		for _, reason := range reasons {
			s := &reasonStat{id: reason.ID, check: check}
			r.reasons = append(r.reasons, s)
			r.byReason[reason] = s
		}
	}
	for _, inst := range base.instances {
		add(inst.Info.Name, inst.Info.Reasons)
	}
	add("policy", checks.PipelineReasons())
	if opts.Against != nil {
		r.Against = opts.Against.Name
		r.changes = newChanges(opts)
	}
	return r
}

// Close gives temporary files back.
func (r *Report) Close() {
	for _, s := range r.reasons {
		s.hits.close()
	}
	if r.changes != nil {
		r.changes.close()
	}
}

func (r *Report) unreadable(m *mail) {
	r.Messages++
	r.Unreadable++
	if len(r.faults) < maxFaults {
		r.faults = append(r.faults, fault{hitOf(m).place(), m.Fault})
	}
}

// judged notes what became of a message.
func (r *Report) judged(m *mail, f fate) error {
	r.Messages++
	r.when(m, f)
	if m.Known&^(received.Time|received.Content) == 0 && !m.Local && m.Session == "" {
		r.noBorder++
		r.hosts.add(m.By)
	}
	if f.trusted {
		r.Trusted++
		return nil
	}
	r.Judged++
	if f.action.Enforced() {
		r.Refused++
		r.senders.add(domainOf(m))
	}
	if f.action == checks.Reject {
		r.Rejected++
	}
	for _, miss := range f.missing {
		r.lacks(miss.check, miss.what.String()+" not known")
	}
	r.failed(f.failures)
	return r.outcomes(m, f)
}

func (r *Report) outcomes(m *mail, f fate) error {
	h := hitOf(m)
	var seen []*reasonStat
	for _, o := range f.outcomes {
		s := r.byReason[o.Reason]
		if s == nil {
			continue
		}
		s.action = max(s.action, o.Action)
		if slices.Contains(seen, s) {
			continue
		}
		seen = append(seen, s)
		if s.sentence == "" {
			s.sentence = o.Reply.Text
		}
		s.senders.add(domainOf(m))
		if err := s.hits.add(h); err != nil {
			return err
		}
	}
	return nil
}

// when notes the time of a message.
func (r *Report) when(m *mail, f fate) {
	if m.Known&received.Time == 0 {
		return
	}
	if r.First.IsZero() {
		r.First = m.Time
	}
	r.Last = m.Time
	const seconds = 24 * 60 * 60
	at := m.Time.Unix() / seconds
	d := r.days[at]
	if d == nil {
		d = &day{}
		r.days[at] = d
	}
	switch f.action {
	case checks.Reject:
		d.rejected++
	case checks.Tempfail:
		d.deferred++
	default:
		d.accepted++
	}
}

// failed notes the checks that could not find out, each once.
func (r *Report) failed(failures []checks.Failure) {
	told := map[string]bool{}
	for _, f := range failures {
		if told[f.Check] {
			continue
		}
		told[f.Check] = true
		why := "could not find out"
		if errors.Is(f.Err, ErrNotAsked) {
			why = ErrNotAsked.Error()
		}
		r.lacks(f.Check, why)
	}
}

func (r *Report) lacks(check, why string) {
	if r.notJudged[check] == nil {
		r.notJudged[check] = map[string]int{}
	}
	r.notJudged[check][why]++
}

func (r *Report) finish(took time.Duration) { r.Took = took }

// found are the reasons that applied.
func (r *Report) found() []*reasonStat {
	return slices.DeleteFunc(slices.Clone(r.reasons), func(s *reasonStat) bool { return s.hits.count == 0 })
}

// domainOf is the sender of a message for counting.
func domainOf(m *mail) string {
	if a := checks.ParseAddress(m.From); a.Domain != "" {
		return a.Domain
	}
	return senderOf(m)
}

// senderOf is the sender for show.
func senderOf(m *mail) string {
	switch {
	case m.Known&received.Sender == 0:
		return "sender not known"
	case m.From == "":
		return "<>"
	default:
		return m.From
	}
}
