package dashboard

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"milterd/milter/evidence"
)

// maxSenders is the number of senders that the page names for each reason.
const maxSenders = 10

// watchedPage is the body of the page of watched and enforced reasons.
type watchedPage struct {
	evidence.WatchReport
	Totals   []total
	Seen     []evidence.Watched  // in the order of verdicts
	Unseen   []string            // reasons that did not apply to any mail
	Enforced []evidence.Enforced // those that refused the most good senders first
}

// sendersView is the list of senders of a reason.
type sendersView struct {
	Senders []evidence.Sender
	Total   int
	Command string // command that prints more of them
	Open    bool   // the list is shown without a click
}

// verdicts are in the order of the page. It begins with the reasons that the operator can enforce.
var verdicts = []evidence.Verdict{evidence.Safe, evidence.Unsafe, evidence.Unknown, evidence.Never}

// watched serves the page of watched and enforced reasons. It is not live: the reports cover weeks and take long to make.
func (p *pages) watched(w http.ResponseWriter, r *http.Request) {
	f := p.frame("watched", "Watched reasons")
	var watch evidence.WatchReport
	var action evidence.ActionReport
	err := p.read(r, evidenceTimeout, func(ctx context.Context) (err error) {
		watch, action, err = p.Evidence(ctx)
		return err
	})
	code := p.setError(&f, err)
	if errors.Is(err, context.DeadlineExceeded) {
		f.Error = "There is too much evidence for this page. Run the commands milterd report watch and milterd report action instead."
		code = http.StatusServiceUnavailable
	}
	if err != nil {
		p.write(w, code, &f, nil)
		return
	}
	page := watchedPage{WatchReport: watch, Enforced: slices.Clone(action.Reasons)}
	page.addWatched()
	slices.SortStableFunc(page.Enforced, func(a, b evidence.Enforced) int { return b.WrongedSenders - a.WrongedSenders })
	p.write(w, code, &f, page)
}

// addWatched divides the watched reasons into Seen and Unseen, and counts the verdicts.
func (page *watchedPage) addWatched() {
	counts := map[evidence.Verdict]int{}
	for _, r := range page.Reasons {
		if r.Occasions == 0 {
			page.Unseen = append(page.Unseen, r.Reason)
			continue
		}
		counts[r.Verdict]++
		page.Seen = append(page.Seen, r)
	}
	slices.SortStableFunc(page.Seen, func(a, b evidence.Watched) int {
		return slices.Index(verdicts, a.Verdict) - slices.Index(verdicts, b.Verdict)
	})
	for _, v := range verdicts {
		page.Totals = append(page.Totals, total{Class: string(v), Title: v.String(), Count: grouped(counts[v])})
	}
}

// newSendersView returns the list of senders of a reason. total is their number, of which list may be a part.
func newSendersView(list []evidence.Sender, total int, report, reason string, open bool) sendersView {
	return sendersView{
		Senders: list[:min(len(list), maxSenders)], Total: total, Open: open,
		Command: "milterd report " + report + " --reason " + reason,
	}
}
