// Package all is the registry of checks. Adding one is its folder and its word here.
package all

import (
	"milterd/checks"
	"milterd/checks/access"
	"milterd/checks/callout"
	"milterd/checks/correspondents"
	"milterd/checks/counters"
	"milterd/checks/dnsbl"
	"milterd/checks/greylist"
	"milterd/checks/helo"
	"milterd/checks/msgfields"
	"milterd/checks/mxplus"
	"milterd/checks/rdns"
	"milterd/checks/sender"
	"milterd/checks/spf"
)

// Checks are all checks, in the order in which they run and decide: what is cheap and says most comes first. It is never
// changed.
var Checks = []checks.Info{
	access.Info, counters.Info, rdns.Info, helo.Info, sender.Info, dnsbl.Info, spf.Info, mxplus.Info, correspondents.Info, msgfields.Info,
	callout.Info, greylist.Info,
}
