// Package facts has what several checks need to know about a session: the confirmed names and the identity of the client, the mail
// hosts of the sender's domain, the authors of a message, and the results of SPF, DKIM and DMARC. Each is looked up once in its
// scope and remembered in the Request, so checks share results and need not know each other.
//
// A fact has an error if a missing answer could change it. What it has is true then, but it may lack something: false might be true.
// checks.Check says what a check makes of that.
//
// Each function that asks the DNS has a companion that returns its questions for checks.Prefetcher: Iprev and
// PrefetchIprev, for example. The evaluators of protocols are packages below this one, such as facts/spf.
//
// The other functions are about texts: domains as A-labels (domain.go), names of pools of addresses (dynamic.go, spelled.go), and
// forms of a mailbox to compare (mailbox.go).
package facts

// maxHosts is the number of names in one answer whose addresses are looked up: a hostile zone can have hundreds. RFC 7208
// section 4.6.4 has the same limit. With half of it, names of honest hosts would be missed.
const maxHosts = 10
