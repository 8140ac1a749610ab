package why

import (
	"slices"
	"strings"

	"milterd/checks"
	"milterd/milter/records"
)

// The states of a result and of its lines.
const (
	stateRepaired = "repaired"
	stateWrong    = "wrong"    // the reason still applies
	stateAlso     = "also"     // the reason applies now, but did not when the mail was refused
	stateNoted    = "noted"    // the reason applies, but this site does not refuse mail for it
	stateUnknown  = "unknown"  // the check failed
	stateUnsigned = "unsigned" // only a new message can show whether its signature passes
)

// result is the result of testing a record again.
type result struct {
	State  string  `json:"state"`  // repaired, wrong, unknown or unsigned
	Lifted bool    `json:"lifted"` // a temporary block was lifted
	Lines  []line  `json:"reasons"`
	Asked  []asked `json:"asked"`

	Helo      string `json:"-"` // other HELO name with which it was tested; empty: that of the record
	Temporary bool   `json:"-"` // the message was deferred
}

// line is the result for one reason.
type line struct {
	Reason string `json:"reason"`
	State  string `json:"state"`
	Text   string `json:"text"`
	fix
	Above bool `json:"-"` // earlier lines have all of its DNS records
}

// testable returns the outcomes of a record that can be tested again. A later version may lack their reasons.
func (p *pages) testable(rec records.Record) []records.Outcome {
	return slices.DeleteFunc(slices.Clone(rec.Outcomes), func(o records.Outcome) bool {
		r := p.reasons[o.Reason]
		return r == nil || r.Repair == checks.NoRepair && !ofHelo(o.Check, o.Reason)
	})
}

// ofHelo reports whether a reason is about the HELO name, which the sender may change before the test.
func ofHelo(check, reason string) bool { return check == "helo" && reason != "helo-changed" }

// testsHelo reports whether a record is about the HELO name.
func testsHelo(rec records.Record) bool {
	return slices.ContainsFunc(rec.Outcomes, func(o records.Outcome) bool { return ofHelo(o.Check, o.Reason) || o.Reason == "spf-helo-fail" })
}

// withHelo returns the record with the HELO name that the sender will use. ok is false if that is no host name.
func withHelo(rec records.Record, name string) (tested records.Record, ok bool) {
	name = strings.TrimSpace(name)
	if name == "" || name == rec.Helo || !testsHelo(rec) {
		return rec, true
	}
	rec.Helo, ok = hostName(name)
	return rec, ok
}

// testedChecks returns the names of the checks that run again.
func (p *pages) testedChecks() []string {
	var names []string
	for _, info := range p.Checks {
		if slices.ContainsFunc(info.Reasons, func(r *checks.Reason) bool { return r.Repair != checks.NoRepair }) {
			names = append(names, info.Name)
		}
	}
	return names
}

// compare compares the reasons of a record with the results of the checks now.
func (p *pages) compare(rec records.Record, results []checks.Result) *result {
	before := p.testable(rec)
	applied := func(o checks.Outcome) bool {
		return slices.ContainsFunc(before, func(b records.Outcome) bool { return b.Reason == o.Reason.ID })
	}
	applies, failed := summarize(results)
	facts := repairFacts{values: newValues(rec, p.Site), results: results}
	res := &result{State: stateRepaired, Lines: []line{}, Asked: p.askedOf(records.Trace(results)), Temporary: isTemporary(rec)}
	for _, o := range applies {
		if applied(o) {
			res.addWrong(o, stateWrong, facts)
		}
	}
	for _, b := range before {
		switch {
		case slices.ContainsFunc(applies, func(o checks.Outcome) bool { return o.Reason.ID == b.Reason }):
		case p.reasons[b.Reason].Repair == checks.SignAgain:
			res.addUnsigned(line{Reason: b.Reason, Text: b.Text})
		default:
			res.addGone(b, failed[b.Check])
		}
	}
	for _, o := range applies {
		if !applied(o) && (o.Reason.Repair != checks.NoRepair || ofHelo(o.Check, o.Reason.ID)) {
			res.addWrong(o, stateAlso, facts)
		}
	}
	return res
}

// summarize returns the first outcome of each reason that is not off, and the names of the checks that failed.
func summarize(results []checks.Result) (applies []checks.Outcome, failed map[string]bool) {
	failed = map[string]bool{}
	for _, r := range results {
		failed[r.Check] = failed[r.Check] || r.Err != nil
		for _, o := range r.Outcomes {
			known := slices.ContainsFunc(applies, func(a checks.Outcome) bool { return a.Reason == o.Reason })
			if o.Action != checks.Off && !known {
				applies = append(applies, o)
			}
		}
	}
	return applies, failed
}

// addWrong adds a line for a reason that applies now.
func (res *result) addWrong(o checks.Outcome, state string, facts repairFacts) {
	l := line{State: state, Reason: o.Reason.ID, Text: o.Reply.Text, fix: facts.fix(o.Reason.Repair)}
	switch {
	case o.Reason.Repair == checks.AlignFrom:
		res.addUnsigned(l) // there was no signature this time
		return
	case o.Action < checks.Greylist:
		l.State = stateNoted
	default:
		res.State = stateWrong
	}
	l.Above = len(l.Records) > 0 && !slices.ContainsFunc(l.Records, func(record string) bool { return !res.hasRecord(record) })
	res.add(l)
}

// addUnsigned adds a line for a reason that a signature may have repaired.
func (res *result) addUnsigned(l line) {
	l.State = stateUnsigned
	if res.State == stateRepaired {
		res.State = stateUnsigned
	}
	res.add(l)
}

func (res *result) add(l line) {
	if l.Records == nil {
		l.Records = []string{} // null is no array of the schema
	}
	res.Lines = append(res.Lines, l)
}

// hasRecord reports whether a line has a DNS record.
func (res *result) hasRecord(record string) bool {
	return slices.ContainsFunc(res.Lines, func(l line) bool { return slices.Contains(l.Records, record) })
}

// addGone adds a line for a reason of the record that does not apply now, or whose check failed.
func (res *result) addGone(o records.Outcome, failed bool) {
	state := stateRepaired
	if failed {
		state = stateUnknown
		if res.State != stateWrong {
			res.State = stateUnknown
		}
	}
	res.add(line{State: state, Reason: o.Reason, Text: o.Text})
}
