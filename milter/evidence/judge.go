package evidence

import (
	"fmt"
	"strings"
	"time"

	"milterd/checks"
)

// lostAfter is the time after which a held sender that did not come back counts as refused.
const lostAfter = 2 * 24 * time.Hour

// watched returns the evidence on a reason for which no mail is refused.
func (d *reportData) watched(s Setting) Watched {
	sum := d.sums[s.Reason.ID]
	w := Watched{
		Reason: s.Reason.ID, Check: s.Check, Action: s.action(checks.Watch).String(),
		First: unixTime(sum.Applied.First), Last: unixTime(sum.Applied.Last),
		Occasions: sum.Applied.N, Days: sum.Applied.days(), Passed: sum.Passed.N, RefusedOtherwise: sum.RefusedOtherwise,
	}
	affected := newSenderList()
	accepted, spf, written := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, e := range d.entries {
		c, ok := e.Reasons[w.Reason]
		if !ok {
			continue
		}
		why, clean := d.whyGood(e, w.Reason)
		affected.add(e, c.Applied, why, clean)
		if why != "" {
			w.Good += c.Applied.N
		}
		client := e.clientName()
		if clean.N > 0 {
			accepted[client] = true
		}
		if e.SPF {
			spf[client] = true
		}
		if e.answered {
			written[client] = true
		}
	}
	w.Clients, w.Accepted, w.SPF, w.Answered = len(affected.clients), len(accepted), len(spf), len(written)
	w.Senders, w.GoodSenders, w.Affected = len(affected.senders), affected.goodCount(), affected.sorted()
	w.Verdict = w.verdict(s.Reason)
	w.Why = w.why()
	return w
}

// verdict applies the threshold. Good senders make a reason unsafe even if there is too little evidence otherwise.
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

// why returns the sentence for the verdict.
func (w *Watched) why() string {
	required := Required()
	switch days := int(w.Last.Sub(w.First) / (24 * time.Hour)); {
	case w.Verdict == Never:
		return ""
	case w.Verdict == Unsafe:
		return "because of " + w.goodNames()
	case w.Occasions == 0:
		return "never seen"
	case w.Verdict == Unknown:
		return fmt.Sprintf("%d of %d occasions, %d of %d clients, over %d of %d days",
			w.Occasions, required.Occasions, w.Clients, required.Clients, days, required.Days)
	case w.Good > 0:
		return fmt.Sprintf("no more than one occasion in %d is a good sender's: %s", required.OneIn, w.goodNames())
	default:
		return "none of these is a known good sender"
	}
}

// goodNames names some of the good senders.
func (w *Watched) goodNames() string {
	const named = 5
	var names []string
	for _, s := range w.Affected {
		if s.Good != "" && len(names) < named {
			names = append(names, fmt.Sprintf("%s (%d, %s)", s.Name(), s.Occasions, s.Good))
		}
	}
	text := strings.Join(names, ", ")
	if more := w.GoodSenders - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// enforced returns the evidence on a reason that refused, greylisted or quarantined mail.
func (d *reportData) enforced(s Setting) Enforced {
	sum := d.sums[s.Reason.ID]
	all := sum.Refused.plus(sum.Held).plus(sum.Quarantined)
	r := Enforced{
		Reason: s.Reason.ID, Check: s.Check, Action: s.action(checks.Greylist).String(),
		Refused: sum.Refused.N, Held: sum.Held.N, Quarantined: sum.Quarantined.N, First: unixTime(all.First), Last: unixTime(all.Last),
	}
	clients, wronged := map[string]bool{}, newSenderList()
	for _, e := range d.entries {
		c := e.Reasons[r.Reason]
		if c.Refused.N+c.Held.N+c.Quarantined.N == 0 {
			continue
		}
		clients[e.clientName()] = true
		why, clean := d.whyGood(e, r.Reason)
		if t := c.Refused.plus(c.Quarantined); t.N > 0 && (why == answered || why == delivers && clean.Last > t.First) {
			wronged.add(e, t, why, clean)
		}
		if c.Held.N == 0 {
			continue
		}
		r.HeldSenders++
		switch later := max(c.Passed.Last, e.cleanOf(r.Reason).Last); {
		case later >= c.Held.Last:
			r.CameBack++
		case (why == answered || why == delivers) && d.until.Sub(unixTime(c.Held.Last)) > lostAfter:
			wronged.add(e, c.Held, why, clean)
		}
	}
	r.Clients = len(clients)
	r.WrongedSenders, r.Wronged = len(wronged.senders), wronged.sorted()
	return r
}

// unixTime returns the time of a tally; the zero time for 0.
func unixTime(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}
