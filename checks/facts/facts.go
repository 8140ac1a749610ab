// Package facts holds what several checks need to know about a session: the confirmed names of the client, the mail hosts
// of the sender's domain, the SPF result. Each is found out once for its scope and remembered in the session, so that
// checks share what they know without knowing each other.
//
// A fact comes with an error if it could not be found out. What is certain in spite of the error is in the fact; nothing
// in it was made up because a question got no answer.
package facts

import (
	"slices"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
)

// maxHosts is how many names of one answer are followed, so that a hostile zone cannot make us ask for hundreds. RFC 7208
// section 4.6.4 has the same number for the same reason.
const maxHosts = 10

// trimName brings a name from the DNS into the form that Session has: lower case, without the dot at its end. The root
// becomes the empty name.
func trimName(name string) string {
	return strings.TrimSuffix(dns.CanonicalName(name), ".")
}

// addrQuestions asks for all addresses of the names: A and AAAA of the first, A and AAAA of the second, and so on.
func addrQuestions(names ...string) []checks.Question {
	var qs []checks.Question
	for _, n := range names {
		qs = append(qs, checks.Ask(n, dns.TypeA), checks.Ask(n, dns.TypeAAAA))
	}
	return qs
}

// ahead makes plain questions into announced ones that nothing follows from.
func ahead(questions []checks.Question) []checks.Query {
	out := make([]checks.Query, 0, len(questions))
	for _, q := range questions {
		out = append(out, checks.Query{Question: q})
	}
	return out
}

// firstN cuts a list to its first n elements.
func firstN[T any](list []T, n int) []T { return slices.Clip(list[:min(n, len(list))]) }
