package callout

import (
	"regexp"
	"strings"
)

// policyWords matches the words of hosts that refuse us and not the address. Doubtful words are included, as a sender must not be
// refused for what a host says about us. "Access denied" is not: a large provider says so of addresses that do not exist.
var policyWords = regexp.MustCompile(`\b(` + strings.Join([]string{
	`block(ed|ing)?`, `(black|white|block|deny|allow)[- ]?list\w*`, `prohibit\w*`, `forbidden`, `dnsbl`, `rbl`, `spam\w*`, `barracuda\w*`,
	`spf`, `dkim`, `dmarc`, `gr[ea]y-?list\w*`, `polic(y|ies)`, `reputation`, `reverse dns`, `rdns`, `ptr`, `helo`, `ehlo`,
	`relay\w*`, `authenticat\w*`, `too many`, `rate limit\w*`, `throttl\w*`, `try (again|later)`, `your (ip|host|server|network)`,
	`client host`, `senders?`, `bounces?`, `call-?(out|back)s?`, `verif\w*`, `(start)?tls`, `encrypt\w*`,
}, "|") + `)\b`)

// fullWords matches the words of hosts for a mailbox that is full. Its user can still send. A word with punctuation other
// than a colon after it ends the phrase: "user unknown; full details at", but "mailbox status: full".
var fullWords = regexp.MustCompile(`\b((over_?)?quota|(mail ?box|inbox|account|user|storage)( \S*[^\s.;,-]){0,3} full|(disk|storage) (limit|space|is full))\b`)

var (
	nullWords    = regexp.MustCompile(`(?i)<>|\b((null|empty|blank) (envelope[- ])?(sender|from|reverse-?path|return-?path)|bounces?)\b`)
	startTLSWord = regexp.MustCompile(`(?i)\bstarttls\b`)
)

// toRcpt returns the result of a reply to RCPT for a mailbox. What a 5yz reply is about comes from RFC 3463 if there is an
// enhanced status code.
func (r reply) toRcpt(mailbox string) result {
	switch r.class() {
	case 2:
		return resultAccepted
	case 3, 4:
		return resultTemporary
	}
	switch e := r.Enhanced; {
	case r.isPolicy(mailbox), r.refusesNull(), e == "5.1.7", e == "5.1.8": // the last two: our sender address
		return resultRefused
	case e == "5.2.2", e == "5.2.3", strings.HasPrefix(e, "5.3."), r.Code == 552, fullWords.MatchString(r.wordsWithout(mailbox)): // full, message too long, system
		return resultTemporary
	case strings.HasPrefix(e, "5.5.") && e != "5.5.0": // protocol; large providers use 5.5.0 for unknown mailboxes
		return resultRefused
	}
	switch r.Code {
	case 521, 550, 551, 553, 554, 556:
		return resultRejected
	default: // a 50z, about our syntax, or no reply to RCPT
		return resultRefused
	}
}

// isPolicy reports whether a refusal is about us: by RFC 3463 section 3.8 (security or policy status), or by its words. The
// mailbox in question is removed from the words first, as it may be "postmaster@spam.example.net".
func (r reply) isPolicy(mailbox string) bool {
	return strings.HasPrefix(r.Enhanced, "5.7.") || strings.HasPrefix(r.Enhanced, "4.7.") ||
		policyWords.MatchString(r.wordsWithout(mailbox))
}

// wordsWithout returns the text in lower case without the mailbox in question.
func (r reply) wordsWithout(mailbox string) string {
	return strings.ReplaceAll(strings.ToLower(strings.Join(r.Lines, " ")), strings.ToLower(mailbox), "")
}

// refusesNull reports whether a reply to RCPT refuses the null reverse-path.
func (r reply) refusesNull() bool {
	return r.class() == 5 && nullWords.MatchString(strings.Join(r.Lines, " "))
}

// needsTLS reports whether a command was refused because the connection is not encrypted: RFC 3207 section 4, and X.7.10 of
// IANA's registry of enhanced status codes.
func (r reply) needsTLS() bool {
	return r.Code == 530 || strings.HasSuffix(r.Enhanced, ".7.10") || r.class() > 3 && startTLSWord.MatchString(strings.Join(r.Lines, " "))
}
