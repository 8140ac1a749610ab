package why

import (
	"slices"

	"milterd/checks"
	"milterd/milter/records"
)

// canRepair tells whether a reason can be tested again. Those of a record may be ones that there are no more.
func (x *explain) canRepair(reason string) bool {
	r := x.reasons[reason]
	return r != nil && r.Repair != checks.NoRepair
}

// tested are the checks that are asked again.
func (x *explain) tested() []string {
	var names []string
	for _, info := range x.Checks {
		if slices.ContainsFunc(info.Reasons, func(r *checks.Reason) bool { return r.Repair != checks.NoRepair }) {
			names = append(names, info.Name)
		}
	}
	return names
}

// public tells whether anybody whose mail was refused may see what a check asks and says.
func (x *explain) public(check string) bool {
	return slices.ContainsFunc(x.Checks, func(info checks.Info) bool { return info.Name == check && info.Public })
}

// result is what a test found.
type result struct {
	State  string // repaired, wrong or unknown
	Lifted bool   // a temporary block
	Lines  []line
	Asked  []records.Asked
}

// line is what became of one reason.
type line struct {
	State  string // repaired, wrong; also: wrong, but not then; noted: wrong, but not refused for; unknown
	Reason string
	Text   string
	fix
	Above bool // the records of a line before repair it too
}

// compare tells what became of the reasons in a record, and what else is wrong.
func (x *explain) compare(rec records.Record, v values, results []checks.Result) *result {
	res := &result{State: "repaired"}
	now := map[string]bool{}
	failed := map[string]bool{} // checks that could not find out
	shown := map[string]bool{}  // records
	wrong := func(o checks.Outcome, state string) {
		if o.Action < checks.Greylist {
			state = "noted"
		} else {
			res.State = "wrong"
		}
		l := line{State: state, Reason: o.Reason.ID, Text: o.Reply.Text, fix: fixOf(question{v, rec, o, results})}
		l.Above = len(l.Records) > 0
		for _, record := range l.Records {
			l.Above = l.Above && shown[record]
			shown[record] = true
		}
		res.Lines = append(res.Lines, l)
	}
	then := x.reasonsOf(rec)
	var others []checks.Outcome
	for _, r := range results {
		failed[r.Check] = failed[r.Check] || r.Err != nil
		for _, o := range r.Outcomes {
			switch {
			case o.Action == checks.Off || now[o.Reason.ID]:
			case slices.ContainsFunc(then, func(t records.Outcome) bool { return t.Reason == o.Reason.ID }):
				now[o.Reason.ID] = true
				wrong(o, "wrong")
			case o.Reason.Repair != checks.NoRepair:
				now[o.Reason.ID] = true
				others = append(others, o)
			}
		}
	}
	for _, t := range then {
		switch {
		case now[t.Reason]:
		case failed[t.Check]:
			res.Lines = append(res.Lines, line{State: "unknown", Reason: t.Reason, Text: t.Text})
			if res.State == "repaired" {
				res.State = "unknown"
			}
		default:
			res.Lines = append(res.Lines, line{State: "repaired", Reason: t.Reason, Text: t.Text})
		}
	}
	for _, o := range others {
		wrong(o, "also")
	}
	res.Asked = x.askedOf(records.Trace(results))
	return res
}

// reasonsOf are the reasons in a record that can be tested again.
func (x *explain) reasonsOf(rec records.Record) []records.Outcome {
	return slices.DeleteFunc(slices.Clone(rec.Outcomes), func(o records.Outcome) bool { return !x.canRepair(o.Reason) })
}

// maxShown is how many answers of the DNS a page shows.
const maxShown = 40

// askedOf lists what was asked for the checks that said something, each question once.
func (x *explain) askedOf(trace []records.Check) []records.Asked {
	var list []records.Asked
	seen := map[string]bool{}
	for _, c := range trace {
		if !x.public(c.Check) {
			continue
		}
		for _, a := range c.Asked {
			if !seen[a.Question] && len(list) < maxShown {
				seen[a.Question] = true
				list = append(list, a)
			}
		}
	}
	return list
}
