package reasons

import (
	"strings"
	"time"

	gomilter "github.com/emersion/go-milter"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// reasonCase is a session to which one reason applies, and the refusal.
type reasonCase struct {
	miltertest.Session
	at    gomilter.Code // event that is refused: 'R' for RCPT, 'N' for the header section or the message
	codes string        // of the reply
	text  string        // part of the reply
	stage string        // in the log

	// For reasons that depend on other reasons or on earlier sessions.
	action   string              // of the reason; empty is reject
	also     map[string]string   // actions of other reasons
	before   *miltertest.Session // refused session on an earlier connection
	times    int                 // number of sessions before; 0 is one
	delayed  bool                // the reason applies to later sessions, after background work
	answered string              // reason in the reply; empty is the reason itself
}

func client(addr, codes, text string) reasonCase {
	s := daemontest.GoodSession(func(s *miltertest.Session) { s.Client, s.ClientName = addr, "["+addr+"]" })
	return reasonCase{Session: s, at: 'R', codes: codes, text: text, stage: "connect"}
}

func helo(name, codes string) reasonCase {
	s := daemontest.GoodSession(func(s *miltertest.Session) { s.Helo = []string{name} })
	return reasonCase{Session: s, at: 'R', codes: codes, text: name, stage: "helo"}
}

func sender(addr, codes, text string) reasonCase {
	return reasonCase{Session: daemontest.SessionFrom(addr), at: 'R', codes: codes, text: text, stage: "mail"}
}

func header(text string, changes ...daemontest.Field) reasonCase {
	s := daemontest.GoodSession(func(s *miltertest.Session) { s.Header = daemontest.GoodHeader(changes...) })
	return reasonCase{Session: s, at: 'N', codes: "550 5.6.0", text: text, stage: "header"}
}

// revokedSignature has the form of a signature whose key is revoked.
const revokedSignature = "v=1; a=rsa-sha256; d=sender.test; s=revoked; h=from; bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=AAAA"

// trustedRelay is the client of checks.dmarc.trusted.
const trustedRelay = "11.8.8.8"

// message is a session that is refused for its message, with other fields.
func message(codes, text string, changes ...daemontest.Field) reasonCase {
	c := header(text, changes...)
	c.codes = codes
	return atMessage(c)
}

// atMessage returns the case of a reason that is decided at the end of the message.
func atMessage(c reasonCase) reasonCase {
	c.at, c.stage = 'N', "message"
	return c
}

// withCodes returns a case with other codes of the reply.
func withCodes(codes string, c reasonCase) reasonCase {
	c.codes = codes
	return c
}

// counted is a session that exceeds a limit of the check counters.
func counted(text string, change func(*miltertest.Session)) reasonCase {
	return reasonCase{Session: daemontest.GoodSession(change), at: 'R', codes: "550 5.7.1", text: text, stage: "rcpt"}
}

// limited is a session with more recipients than the check rate allows.
func limited(text string, change func(*miltertest.Session)) reasonCase {
	s := daemontest.GoodSession(change)
	s.Rcpts = []string{"alice@mx.test", "bob@mx.test", "carol@mx.test"}
	return reasonCase{Session: s, at: 'R', codes: "451 4.7.28", text: text, stage: "rcpt", action: "tempfail"}
}

// atStage returns the case of a reason that is decided at another stage.
func atStage(stage string, c reasonCase) reasonCase {
	c.stage = stage
	return c
}

// reasonCases returns a case for each reason, except those that have a session file only.
func reasonCases() map[string]reasonCase {
	later := time.Now().Add(48 * time.Hour).Format(time.RFC1123Z)
	twice := header("Subject")
	twice.Header = append(twice.Header, daemontest.Field{"Subject", "again"})
	again := header("2 Cc fields")
	again.Header = append(again.Header, daemontest.Field{"Cc", "a@sender.test"}, daemontest.Field{"Cc", "b@sender.test"})
	nameless := daemontest.GoodSession(func(s *miltertest.Session) { s.Helo = nil })
	changed := daemontest.GoodSession(func(s *miltertest.Session) { s.Helo = append(s.Helo, "second.client.test") })
	heloFail := helo("helofail.client.test", "550 5.7.23")
	guesses := func(s *miltertest.Session) { s.UnknownRcpts = []string{"ann@mx.test", "ben@mx.test", "cat@mx.test"} }
	guessing := daemontest.GoodSession(guesses)
	blocked := counted("127.0.0.10 is blocked until", func(*miltertest.Session) {})
	blocked.before, blocked.also = &guessing, map[string]string{"too-many-bad-recipients": "tempfail"}
	strangers := client("127.0.0.13", "451 4.7.1", "greylisted for 180 s more: 127.0.0.13 has no reverse DNS name")
	strangers.stage, strangers.action, strangers.also = "rcpt", "tempfail", map[string]string{"rdns-missing": "greylist"}
	first := client(daemontest.GoodClient, "451 4.7.1", "greylisted for 180 s more: 127.0.0.10 sends the first mail from <a@sender.test> to <alice@mx.test>")
	first.ClientName, first.stage, first.action, first.answered = daemontest.GoodHelo, "rcpt", "greylist", "greylisted"
	first.also = map[string]string{"greylisted": "tempfail"}
	passedOn := message("550 5.7.1", "passed on by a trusted client", daemontest.Field{"From", "a@reject.test"})
	passedOn.Client, passedOn.ClientName = trustedRelay, "["+trustedRelay+"]"
	unauthenticated := message("550 5.7.26", "neither SPF nor DKIM passes for any domain")
	unauthenticated.MailFrom = "a@none.test"
	listed := client("11.5.5.5", "550 5.7.1", "11.5.5.5 is listed in bl.test: see the bl.test page")
	author := header("nobody@callout.test", daemontest.Field{"From", "nobody@callout.test"})
	author.codes = "550 5.7.1"
	bad := daemontest.GoodSession(func(s *miltertest.Session) { s.Header = daemontest.GoodHeader(daemontest.Field{"Date", "yesterday"}) })
	disliked := sender(daemontest.GoodSender, "550 5.7.1", daemontest.GoodSender)
	disliked.before, disliked.times, disliked.also = &bad, 2, map[string]string{"date-invalid": "reject"}
	young := sender("a@young.com", "550 5.7.1", "young.com")
	young.delayed = true
	return map[string]reasonCase{
		"client-denied": atStage("mail", client("11.7.7.7", "550 5.7.1", "no spam please")),
		"helo-denied":   atStage("mail", helo("denied.client.test", "550 5.7.1")),
		"sender-denied": sender("a@denied.test", "550 5.7.1", "denied.test"),

		"client-blocked":          blocked,
		"too-many-resets":         counted("127.0.0.10 gave up too many", func(s *miltertest.Session) { s.Resets = 3 }),
		"too-many-bad-recipients": counted("127.0.0.10 named too many unknown", guesses),
		"too-many-errors":         counted("127.0.0.10 sent too much that was refused", guesses),

		"client-rate": limited("the network 127.0.0.0/24 has reached the limit of 2 recipients in an hour", func(*miltertest.Session) {}),
		"domain-rate": limited("sender.test", func(*miltertest.Session) {}),
		"user-rate":   limited("jane", func(s *miltertest.Session) { s.AuthUser = "jane" }),
		"no-tls":      sender("a@sender.test", "550 5.7.10", "TLS"),

		"rdns-missing":  client("127.0.0.13", "550 5.7.25", "127.0.0.13"),
		"rdns-mismatch": client("127.0.0.11", "550 5.7.25", "127.0.0.11"),
		"rdns-dynamic":  client("11.6.6.6", "550 5.7.1", "11-6-6-6.dsl.isp.test"),

		"helo-missing":      {Session: nameless, at: 'R', codes: "503 5.5.1", stage: "helo"},
		"helo-syntax":       helo("-bad-.client.test", "501 5.5.2"),
		"helo-underscore":   helo("bad_name.client.test", "501 5.5.2"),
		"helo-bare-ip":      helo(daemontest.GoodClient, "501 5.5.2"),
		"helo-not-fqdn":     helo("workstation", "504 5.5.2"),
		"helo-literal":      helo("[11.2.3.4]", "550 5.7.1"),
		"helo-literal-near": helo("[127.0.0.77]", "550 5.7.1"),
		"helo-own-name":     helo("mx.test", "550 5.7.1"),
		"helo-unresolvable": helo("nowhere.client.test", "550 5.7.1"),
		"helo-cname":        helo("alias.client.test", "550 5.7.1"),
		"helo-mismatch":     helo("other.client.test", "550 5.7.1"),
		"helo-changed":      {Session: changed, at: 'R', codes: "550 5.7.1", text: "second.client.test", stage: "helo"},

		"sender-syntax":     sender("a b@sender.test", "553 5.1.7", "a b@sender.test"),
		"sender-syntax-lax": sender("a..b@sender.test", "553 5.1.7", "a..b@sender.test"),
		"sender-no-domain":  sender("a@nodomain.test", "550 5.1.8", "nodomain.test"),
		"sender-null-mx":    sender("a@nullmx.test", "550 5.7.27", "nullmx.test"),
		"sender-bogus-mx":   sender("a@bogus.test", "550 5.1.8", "bogus.test"),
		"sender-own-domain": sender("a@mx.test", "550 5.7.1", "mx.test"),

		"sender-history": disliked,
		"domain-new":     young,

		"dnsbl-listed": listed,
		"rhsbl-listed": sender("a@listed.test", "550 5.7.1", "listed.test"),

		"spf-fail":      atMessage(sender("a@fail.test", "550 5.7.23", "127.0.0.10 is no server of fail.test")),
		"spf-no-mail":   sender("a@nomail.test", "550 5.7.23", "nomail.test"),
		"spf-too-wide":  sender("a@wide.test", "550 5.7.1", "wide.test"),
		"spf-helo-fail": heloFail,
		"spf-softfail":  sender("a@soft.test", "550 5.7.1", "soft.test"),
		"spf-none":      sender("a@none.test", "550 5.7.1", "none.test"),
		"spf-permerror": sender("a@perm.test", "550 5.7.24", "perm.test"),
		"spf-temperror": sender("a@temp.test", "451 4.7.24", "temp.test"),

		"dkim-fail": message("550 5.7.20", "the key was revoked", daemontest.Field{"DKIM-Signature", revokedSignature}),
		"dkim-none": message("550 5.7.20", "no DKIM signature"),

		"dmarc-reject":     message("550 5.7.1", "rejected by the DMARC policy of reject.test", daemontest.Field{"From", "a@reject.test"}),
		"dmarc-quarantine": message("550 5.7.1", "suspicious by the DMARC policy of quarantine.test", daemontest.Field{"From", "a@quarantine.test"}),
		"dmarc-fail":       message("550 5.7.1", "that monitor.test sent this", daemontest.Field{"From", "a@monitor.test"}),
		"dmarc-list": message("550 5.7.1", "the mailing list talk.sender.test is not known here", daemontest.Field{"From", "a@reject.test"},
			daemontest.Field{"List-Id", "<talk.sender.test>"}, daemontest.Field{"List-Post", "<mailto:talk@sender.test>"}),
		"dmarc-indirect": passedOn,
		"auth-none":      unauthenticated,
		"from-unaligned": message("550 5.7.22", "but not for callout.test in From", daemontest.Field{"From", "a@callout.test"}),

		"from-multiple":  header("sender.test, callout.test", daemontest.Field{"From", "a@sender.test, b@callout.test"}),
		"from-no-domain": withCodes("550 5.1.8", header("the domain nowhere.test in From", daemontest.Field{"From", "a@nowhere.test"})),
		"from-encoded":   header("has an encoded-word", daemontest.Field{"From", "=?utf-8?q?a?=@sender.test"}),
		"from-display":   withCodes("550 5.7.1", header("claims to be b@callout.test", daemontest.Field{"From", `"b@callout.test" <a@sender.test>`})),

		"mxplus-mismatch": sender(daemontest.GoodSender, "550 5.7.1", "sender.test"),

		"date-missing":    header("Date", daemontest.Field{"Date", "-"}),
		"date-invalid":    header("yesterday", daemontest.Field{"Date", "yesterday"}),
		"date-lax":        header("no zone", daemontest.Field{"Date", "Sat, 21 Nov 2026 12:00:00 (no zone)"}),
		"date-future":     header("20", daemontest.Field{"Date", later}),
		"date-past":       header("1999", daemontest.Field{"Date", "Sat, 20 Nov 1999 12:00:00 +0000"}),
		"msgid-missing":   header("Message-ID", daemontest.Field{"Message-ID", "-"}),
		"msgid-invalid":   header("control character", daemontest.Field{"Message-ID", "<a\x01b@example.net>"}),
		"msgid-lax":       header("no-brackets", daemontest.Field{"Message-ID", "no-brackets"}),
		"from-missing":    header("From", daemontest.Field{"From", "-"}),
		"from-invalid":    header("nobody at all", daemontest.Field{"From", "nobody at all"}),
		"from-lax":        header("Doe, Jane", daemontest.Field{"From", "Doe, Jane <jane@sender.test>"}),
		"field-duplicate": twice,
		"field-repeated":  again,
		"field-too-long":  header("X-Long", daemontest.Field{"X-Long", strings.Repeat("x", 1200)}),
		"field-8bit":      header("Subject", daemontest.Field{"Subject", "gr\xfc\xdfe"}),
		"field-syntax":    header("Bad Name", daemontest.Field{"Bad Name", "x"}),

		"callout-rejected":      atStage("rcpt", sender("nobody@callout.test", "550 5.1.7", "nobody@callout.test")),
		"callout-unreachable":   atStage("rcpt", sender("a@refusing.test", "450 4.1.7", "refusing.test")),
		"callout-pending":       atStage("rcpt", sender("a@silent.test", "450 4.1.7", "silent.test")),
		"from-callout-rejected": author,

		"first-contact": first,
		"greylisted":    strangers,
	}
}
