package dashboard

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"milterd/milter/evidence"
)

// watchedPage is what was seen of watched and enforced reasons.
type watchedPage struct {
	evidence.WatchReport
	Totals   []chartTotal
	Seen     []watchedView // what there is most to say of first
	Unseen   []string
	Enforced []enforcedView // those that wronged somebody first
}

// watchedView is a watched reason that applied to something.
type watchedView struct {
	evidence.Watched
	Senders sendersView
}

// enforcedView is an enforced reason that refused or held something.
type enforcedView struct {
	evidence.Enforced
	Senders sendersView
}

// sendersView names senders, of whom the reason's command tells more.
type sendersView struct {
	Senders []evidence.Sender
	Total   int
	Command string
	Open    bool
}

// verdicts are in the order of the page: what the operator can do something about first.
var verdicts = []evidence.Verdict{evidence.Safe, evidence.Unsafe, evidence.Unknown, evidence.Never}

// sendersShown is how many are named of a reason.
const sendersShown = 10

func sendersOf(list []evidence.Sender, total int, report, reason string, open bool) sendersView {
	return sendersView{list[:min(len(list), sendersShown)], total, "milterd report " + report + " --reason " + reason, open}
}

// watched shows the reports. It is not kept up to date: they tell of weeks, and are much to read.
func (x *dashboard) watched(w http.ResponseWriter, r *http.Request) {
	f := x.frame("watched", "Watched reasons")
	var watch evidence.WatchReport
	var action evidence.ActionReport
	err := x.readFor(r, longPatience, func(ctx context.Context) (err error) {
		watch, action, err = x.Evidence(ctx)
		return err
	})
	code := x.failed(&f, err)
	if errors.Is(err, context.DeadlineExceeded) {
		f.Error = "There is too much evidence to be read while a page waits. The commands milterd report watch and milterd report action take the time."
		code = http.StatusServiceUnavailable
	}
	if err != nil {
		x.write(w, code, &f, nil)
		return
	}
	page := watchedPage{WatchReport: watch}
	count := map[evidence.Verdict]int{}
	for _, reason := range watch.Reasons {
		if reason.Occasions == 0 {
			page.Unseen = append(page.Unseen, reason.Reason)
			continue
		}
		count[reason.Verdict]++
		page.Seen = append(page.Seen, watchedView{reason, sendersOf(reason.Affected, reason.Senders, "watch", reason.Reason, reason.Verdict == evidence.Unsafe)})
	}
	slices.SortStableFunc(page.Seen, func(a, b watchedView) int {
		return slices.Index(verdicts, a.Verdict) - slices.Index(verdicts, b.Verdict)
	})
	for _, v := range verdicts {
		page.Totals = append(page.Totals, chartTotal{Action: string(v), Title: v.String(), Count: grouped(count[v])})
	}
	for _, reason := range action.Reasons {
		page.Enforced = append(page.Enforced, enforcedView{reason, sendersOf(reason.Wronged, reason.WrongedSenders, "action", reason.Reason, true)})
	}
	slices.SortStableFunc(page.Enforced, func(a, b enforcedView) int { return b.WrongedSenders - a.WrongedSenders })
	x.write(w, code, &f, page)
}

// Class is the verdict for the style sheet.
func (v watchedView) Class() string { return string(v.Verdict) }
