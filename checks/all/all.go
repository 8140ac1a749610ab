// Package all is the registry of checks. A new check is a folder beside this one, whose Info is added to Checks here.
// Commands pass Checks to packages that build a Pipeline or document the checks. The tests of this package hold for every
// check, and for the imports of every package.
package all

import (
	"iter"

	"milterd/checks"
	"milterd/checks/access"
	"milterd/checks/author"
	"milterd/checks/callout"
	"milterd/checks/correspondents"
	"milterd/checks/counters"
	"milterd/checks/dkim"
	"milterd/checks/dmarc"
	"milterd/checks/dnsbl"
	"milterd/checks/greylist"
	"milterd/checks/helo"
	"milterd/checks/msgfields"
	"milterd/checks/mxplus"
	"milterd/checks/rate"
	"milterd/checks/rdns"
	"milterd/checks/sender"
	"milterd/checks/spf"
	"milterd/checks/tls"
)

// Checks are all checks, in the order in which they run: of several refusals, the first one answers. Callers must not
// modify the list.
var Checks = []checks.Info{
	access.Info, counters.Info, rate.Info, tls.Info, rdns.Info, helo.Info, sender.Info, dnsbl.Info, spf.Info, mxplus.Info, correspondents.Info,
	msgfields.Info, dkim.Info, dmarc.Info, author.Info, callout.Info, greylist.Info,
}

// Reasons iterates over all reasons, in the order in which they decide, each after the name of its check. The reasons of the
// Pipeline come last, after an empty name.
func Reasons() iter.Seq2[string, *checks.Reason] {
	return func(yield func(string, *checks.Reason) bool) {
		for _, info := range Checks {
			for _, r := range info.Reasons {
				if !yield(info.Name, r) {
					return
				}
			}
		}
		for _, r := range checks.PipelineReasons() {
			if !yield("", r) {
				return
			}
		}
	}
}
