package facts_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/facts"
	"milterd/headers"
)

// authors returns the authors of a message with From fields of the given values.
func authors(t testing.TB, values ...string) facts.Authors {
	t.Helper()
	header := []headers.Field{{Name: "Subject", Value: " From: no@example.com"}}
	for _, v := range values {
		header = append(header, headers.Field{Name: "From", Value: v})
	}
	return facts.MessageAuthors(checktest.Session{Header: header}.Request(t))
}

func TestMessageAuthors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		from    []string
		domains string
		invalid string
	}{
		{"no field", nil, "", ""},
		{"an address", []string{" jane@example.com"}, "example.com", ""},
		{"a name and an address", []string{" Jane <jane@example.com>"}, "example.com", ""},
		{"capitals and a dot at the end", []string{" jane@Mail.EXAMPLE.com."}, "mail.example.com", ""},
		{"several dots at the end", []string{" jane@bank.example.."}, "bank.example", ""},
		{"a double dot in the domain", []string{" Jane <jane@bank..example>"}, "bank.example", ""},
		{"folded", []string{" Jane Doe\n <jane@example.com>"}, "example.com", ""},
		{"a comment in the domain", []string{" jane@example(a@b.example).com"}, "example.com", ""},
		{"an address in the name", []string{` "jane@example.net" <jane@example.com>`}, "example.com", ""},
		{"two of one domain", []string{" jane@example.com, joe@EXAMPLE.com"}, "example.com", ""},
		{"two domains", []string{" a@bank.example, b@evil.example"}, "bank.example evil.example", ""},
		{"two fields", []string{" a@bank.example", " b@evil.example"}, "bank.example evil.example", ""},
		{"a second field that is empty", []string{" a@bank.example", ""}, "bank.example", ""},
		{"a group", []string{" us: jane@example.com, joe@example.net;"}, "example.com example.net", ""},
		{"an empty group", []string{" undisclosed:;"}, "", ""},
		{"a bounce without address", []string{" MAILER-DAEMON <>"}, "", ""},
		{"a bounce with a word", []string{" MAILER-DAEMON"}, "", ""},
		{"an address literal", []string{" jane@[192.0.2.1]"}, "", ""},
		{"an IPv6 address literal", []string{" jane@[IPv6:2001:db8::1]"}, "", ""},
		{"a domain in brackets", []string{" ceo@[bank.example]"}, "bank.example", ""},
		{"U-labels", []string{" jane@bücher.example"}, "xn--bcher-kva.example", ""},
		{"U-labels in capitals", []string{" jane@BÜCHER.example"}, "xn--bcher-kva.example", ""},
		{"A-labels and U-labels of one domain", []string{" jane@bücher.example, joe@xn--bcher-kva.example"}, "xn--bcher-kva.example", ""},
		{"wide characters", []string{" jane@ｅxample。com"}, "example.com", ""},
		{"emoji", []string{" jane@i❤.example"}, "xn--i-7iq.example", ""},
		{"Latin-1", []string{" jane@b\xfccher.example"}, "xn--bcher-kva.example", "b\xfccher.example"},
		{"a quoted-pair in the domain", []string{` jane@ba\nk.example`}, "bank.example", ""},
		{"an underscore", []string{" jane@a_b.example.com"}, "a_b.example.com", ""},
		{"a character that no domain has", []string{" jane@exam!ple.com"}, "", "exam!ple.com"},
		{"a character that no domain has, above a domain", []string{" jane@mail!.example.com"}, "example.com", "mail!.example.com"},
		{"a quote after the domain", []string{" jane@bank.example'"}, "bank.example", "bank.example'"},
		{"quotes around the address", []string{" 'jane@bank.example'"}, "bank.example", "bank.example'"},
		{"quotes around the domain", []string{" jane@'bank.example'"}, "bank.example", "'bank.example'"},
		{"typographic quotes", []string{" \u201cjane@bank.example\u201d"}, "bank.example", ""},
		{"a bracket before the domain", []string{" jane@<bank.example>"}, "bank.example", ""},
		{"an open bracket before the domain", []string{" jane@[bank.example"}, "bank.example", ""},
		{"a domain, a slash and a domain", []string{" Jane <jane@bank.example/evil.example>"}, "bank.example", "bank.example/evil.example"},
		{"a domain and an entity of HTML", []string{" jane@bank.example&gt"}, "bank.example", "bank.example&gt"},
		{"an encoded address in UTF-16", []string{" =?utf-16be?b?AGoAYQBuAGUAQABiAGEAbgBrAC4AZQB4AGEAbQBwAGwAZQ==?="}, "bank.example", ""},
		{"a slash after the domain", []string{" jane@bank.example/"}, "bank.example", "bank.example/"},
		{"a literal with a tag and a domain", []string{" jane@[dns:bank.example]"}, "bank.example", ""},
		{"a literal with a mapped address", []string{" jane@[IPv6:::ffff:192.0.2.1]"}, "", ""},
		{"a domain of 254 bytes", []string{" jane@" + strings.Repeat("a.", 121) + "bank.example"}, strings.Repeat("a.", 120) + "bank.example", strings.Repeat("a.", 121) + "bank.example"},
		{"hyphens at the edges of a label", []string{" jane@-.bank.example"}, "bank.example", "-.bank.example"},
		{"an encoded-word as domain", []string{" jane@=?utf-8?q?example.com?="}, "example.com", "=?utf-8?q?example.com?="},
		{"an encoded address", []string{" Jane <=?utf-8?q?jane=40example.com?=>"}, "example.com", ""},
		{"an encoded local part with an address", []string{" =?utf-8?q?ceo=40bank.example=2C?=@evil.example"}, "evil.example bank.example", ""},
		{"a field that is encoded as a whole", []string{" =?utf-8?q?Jane?= =?utf-8?q?_=3Cjane=40example.com=3E?="}, "example.com", ""},
		{"an encoded name", []string{" =?utf-8?q?ceo=40bank.example?= <jane@example.com>"}, "example.com", ""},
		{"an address in a name that is not quoted", []string{" jane@example.net <jane@example.com> (oops"}, "example.com", ""},
		{"a field that cannot be parsed", []string{" ceo@bank.example <> jane@example.com"}, "bank.example example.com", ""},
		{"an address without end", []string{" <ceo@bank.example"}, "bank.example", ""},
		{"an address after six of the same domain", []string{" a@a@a@a@a@a@bank.example"}, "a bank.example", ""},
		{"an encoded address after a comment with six domains", []string{" (@a @b @-c @-d @-e @-f) =?utf-8?q?jane=40bank.example?="}, "a b bank.example", "-c -d -e -f"},
		{"a quoted domain", []string{` ceo@"bank.example"`}, "bank.example", ""},
		{"a wide at sign", []string{" ceo\uff20bank.example"}, "bank.example", ""},
		{"a no-break space after the domain", []string{" ceo@bank.example\u00a0"}, "bank.example", ""},
		{"a no-break space in Latin-1 after the domain", []string{" ceo@bank.example\xa0"}, "bank.example", ""},
		{"an address before a name with a comma", []string{" ceo@bank.example, Doe, J <x@evil.example>"}, "bank.example evil.example", ""},
		{"an address before an open quote", []string{` ceo@bank.example, "oops <x@evil.example>`}, "bank.example evil.example", ""},
		{"an address before an open comment", []string{` ceo@bank.example, (oops <x@evil.example>`}, "bank.example evil.example", ""},
		{"an address with a space", []string{" CEO <c eo@bank.example>, <x@evil.example>"}, "evil.example bank.example", ""},
		{"user%host", []string{" CEO <ceo%Bank.example>"}, "bank.example", ""},
		{"user%host beside an address", []string{" ceo % bank.example (CEO), x@evil.example"}, "evil.example bank.example", ""},
		{"host!user", []string{" bank.example!ceo"}, "bank.example", ""},
		{"a percent sign in a name", []string{" 50% of shop.example! <jane@example.com>"}, "example.com", ""},
		{"a domain of UUCP", []string{" ceo@bank.example.UUCP"}, "bank.example", ""},
		{"user%host with a domain of UUCP", []string{" ceo%bank.example.UUCP"}, "bank.example", ""},
		{"an address before many of the form user%host", []string{" CEO <ceo@bank.example>, a%a.example, a%b.example, a%c.example, a%d.example, a%e.example, a%f.example"},
			"bank.example a.example b.example c.example d.example e.example", ""},
		{"a quoted element", []string{` "ceo@bank.example", <x@evil.example>`}, "evil.example bank.example", ""},
		{"a quoted element after an address", []string{` x@evil.example, "ceo@bank.example"`}, "evil.example bank.example", ""},
		{"an encoded element", []string{" =?utf-8?b?PGNlb0BiYW5rLmV4YW1wbGU+?=, <x@evil.example>"}, "evil.example bank.example", ""},
		{"an encoded element without brackets", []string{" x@evil.example, =?utf-8?q?ceo=40bank.example?="}, "evil.example bank.example", ""},
		{"an encoded element in brackets", []string{" <=?utf-8?q?ceo=40bank.example?=>, <x@evil.example>"}, "evil.example bank.example", ""},
		{"an element with a wide at sign", []string{" ceo\uff20bank.example, x@evil.example"}, "evil.example bank.example", ""},
		{"an address in an encoded name with a comma", []string{" =?utf-8?q?ceo=40bank.example=2C_CEO?= <x@evil.example>"}, "evil.example", ""},
		{"a quoted element without a domain", []string{` "Jane@home", Sales <jane@example.com>`}, "example.com", ""},
		{"a quoted name with a parenthesis that is not closed", []string{` "jane@bank.example (Jane D" <x@evil.example>`}, "evil.example", ""},
		{"an address before a comment that is not closed", []string{` ceo@bank.example (<x@evil.example>`}, "evil.example bank.example", ""},
		{"a name in ISO-2022-JP that is not encoded", []string{" \x1b$BIU%95HB@9T\x1b(B, Inc. <info@example.com>"}, "example.com", ""},
		{"an encoded name in ISO-2022-JP with a comma", []string{" =?ISO-2022-JP?B?GyRCQmdCQDlUJS4lcxsoQg==?=, Inc. <info@example.com>"}, "example.com", ""},
		{"an escape sequence in an encoded address", []string{" =?iso-2022-jp?q?ceo=40=1B(Bbank.example?="}, "bank.example", ""},
		{"an escape sequence in an address", []string{" <ceo@ba\x1b(Bnk.example>, x@evil.example"}, "evil.example bank.example", ""},
		{"an address in a name with a comma", []string{" 'ceo@bank.example' via list, Team <x@evil.example>"}, "evil.example", ""},
		{"an address in a quoted name with a comma", []string{` "ceo@bank.example", "CEO" <x@evil.example>`}, "evil.example bank.example", ""},
		{"an encoded address without padding", []string{" =?utf-8?b?Y2VvQGJhbmsuZXhhbXBsZQ?="}, "bank.example", ""},
		{"an encoded address in UTF-7", []string{" =?utf-7?q?ceo+AEA-bank.example?="}, "bank.example", ""},
		{"an encoded address after a malformed word", []string{" =?a?bc?==?utf-8?q?ceo=40bank.example?="}, "bank.example", ""},
		{"a comment before a dot", []string{" x@evil.example, ceo@bank.example(CEO).evil.example"}, "evil.example bank.example.evil.example bank.example", ""},
		{"white space before a dot, after one label", []string{" jane@example .com"}, "example.com", ""},
		{"white space before a dot, in a name", []string{` "ceo@bank.example ..." <x@evil.example>`}, "evil.example", ""},
		{"white space before a dot, in a name that is not quoted", []string{" ceo@bank.example ... <x@evil.example>"}, "evil.example", ""},
		{"an address as the local part, of a gateway", []string{` "jane@example.org"@gateway.example`}, "gateway.example", ""},
		{"an at sign in a quoted local part", []string{` "Jane Doe@Corp"@example.com`}, "example.com", ""},
		{"wide characters beside an underscore", []string{" ceo@_x.\uff42ank\u3002example"}, "_x.bank.example", ""},
		{"wide characters beside hyphens", []string{" ceo@\u00e4-.bank\u3002example"}, "xn----zfa.bank.example", ""},
		{"a control character in the domain", []string{" ceo@ba\x01nk.example"}, "ba bank.example", ""},
		{"a control character in brackets", []string{" <\x7fceo@bank.example>, x@evil.example"}, "evil.example bank.example", ""},
		{"an encoded control character", []string{" =?utf-8?q?ceo=40ba=00nk=7F.example?="}, "bank.example", ""},
		{"an encoded line end", []string{" =?utf-8?q?ceo=40ba=0D=0Ank.example?="}, "bank.example", ""},
		{"an encoded byte that is not UTF-8", []string{" =?utf-8?q?ceo=40ba=FFnk.example?=, x@evil.example"}, "evil.example bank.example", ""},
		{"brackets in a comment", []string{" ceo@bank.example; (<x@evil.example>)"}, "bank.example evil.example", ""},
		{"an encoded address beside a comment", []string{" (x@evil.example) =?utf-8?q?ceo=40bank.example?="}, "evil.example bank.example", ""},
		{"an encoded address beside brackets in a comment", []string{" =?utf-8?q?ceo=40bank.example?= (<x@evil.example>)"}, "evil.example bank.example", ""},
		{"brackets in a quoted string", []string{` ceo@bank.example, "<x@evil.example>"`}, "bank.example evil.example", ""},
		{"an element with punctuation around it", []string{` <x@evil.example>, :"ceo@bank.example'`}, "evil.example bank.example", ""},
		{"an open bracket and a quote", []string{` <x@evil.example><ceo@bank.example"`}, "evil.example bank.example", ""},
		{"a label with a character that no domain has, above a domain", []string{" jane@mail!x.bank.example"}, "bank.example", "mail!x.bank.example"},
		{"a quoted element after many empty ones", []string{strings.Repeat(",", 20_000) + ` "ceo@bank.example", <x@evil.example>`}, "evil.example bank.example", ""},
		{"a quoted element after many comments", []string{strings.Repeat("(@),", 20_000) + ` "ceo@bank.example", <x@evil.example>`}, "evil.example bank.example", ""},
		{"a quoted element after many empty words", []string{strings.Repeat("=?utf-8?q??=,", 7_000) + ` "ceo@bank.example", <x@evil.example>`}, "evil.example bank.example", ""},
		{"a quoted element after many addresses", []string{strings.Repeat("x@evil.example,", 6_000) + ` "ceo@bank.example", <x@evil.example>`}, "evil.example bank.example", ""},
		{"an address behind a bracket", []string{" <x@evil.example>ceo@bank.example"}, "evil.example bank.example", ""},
		{"an address behind a bracket and white space", []string{" X <x@evil.example> ceo@bank.example"}, "evil.example bank.example", ""},
		{"a comment with an address behind a bracket", []string{" Jane <jane@example.com> (jane@bank.example)"}, "example.com", ""},
		{"an element with empty brackets", []string{" ceo@bank.example <>, <x@evil.example>"}, "evil.example bank.example", ""},
		{"an encoded element in quotes", []string{" =?utf-8?q?=22ceo=40bank.example=22?=, <x@evil.example>"}, "evil.example bank.example", ""},
		{"address literals in a list", []string{" a@[192.0.2.1], b@ [192.0.2.2], c@[IPv6:::ffff:192.0.2.1], jane@example.com"}, "example.com", ""},
		{"an obsolete route", []string{" Jane <@route.example:jane@example.com>"}, "example.com", ""},
		{"an address as the local part, in a list", []string{` Jane <"jane@example.org"@gateway.example>, joe@gateway.example`}, "gateway.example", ""},
		{"an address as the local part, before white space", []string{` "jane@example.org" @gateway.example`}, "gateway.example", ""},
		{"an address as the local part, before a comment", []string{` "jane@example.org"(Jane)@gateway.example`}, "gateway.example", ""},
		{"an address with a dot at the end as the local part", []string{` "jane@example.org."@gateway.example`}, "gateway.example", ""},
		{"a double dot above the domain", []string{" Jane <jane@mail..bank.example>"}, "mail.bank.example", ""},
		{"a comment within a label", []string{" ceo@ba(CEO)nk.example"}, "ba bank.example", ""},
		{"a comment within an encoded element", []string{" =?utf-8?q?ceo=40ba(CEO)nk.example?=, <x@evil.example>"}, "evil.example bank.example", ""},
		{"an encoded address with a quote after it", []string{" =?utf-8?q?ceo=40bank.example=22?=@evil.example"}, "evil.example bank.example", ""},
		{"an encoded address with a no-break space after it", []string{" =?utf-8?q?ceo=40bank.example?=\u00a0@evil.example"}, "evil.example bank.example", ""},
		{"an encoded address with a wide dot", []string{" =?utf-8?q?ceo=40bank=E3=80=82example=2C?=@evil.example"}, "evil.example bank.example", ""},
		{"an encoded address as the name of a group", []string{" =?utf-8?q?ceo=40bank.example?=:;, <x@evil.example>"}, "evil.example bank.example", ""},
		{"an element with a backslash in brackets", []string{` ceo@bank.example <\>, <x@evil.example>`}, "evil.example bank.example", ""},
		{"more than six", []string{" a@a.example, a@b.example, a@c.example, a@d.example, a@e.example, a@f.example, a@g.example"},
			"a.example b.example c.example d.example e.example f.example", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := authors(t, c.from...)
			if got := strings.Join(a.Domains, " "); got != c.domains {
				t.Errorf("domains %q, want %q", got, c.domains)
			}
			if a.Several() != (len(a.Domains) > 1) {
				t.Errorf("several: %t", a.Several())
			}
			if got := strings.Join(a.Invalid, " "); got != c.invalid {
				t.Errorf("invalid %q, want %q", got, c.invalid)
			}
		})
	}
}

// TestPartsOfAddress tests that the domain that some mail programs take from an address counts too, but not as a second author.
func TestPartsOfAddress(t *testing.T) {
	t.Parallel()
	for from, domains := range map[string]string{
		" ceo@bank.example .evil.example":                         "bank.example.evil.example bank.example",
		" J\u00f6rg <ceo@bank.example.\n evil.example>":           "bank.example.evil.example bank.example",
		" <ceo@bank.example(CEO) . evil.example>, x@evil.example": "bank.example.evil.example evil.example bank.example",
		` "ceo@bank.example x"@evil.example`:                      "evil.example bank.example",
		` CEO <"<ceo@bank.example>"@evil.example>`:                "evil.example bank.example",
		` "x@evil.example <ceo@bank.example> "@evil.example`:      "evil.example bank.example",
		" CEO <ceo@bank.example .evil.example> CEO":               "bank.example.evil.example bank.example",
		" CEO <ceo@bank.example ..evil.example>":                  "bank.example.evil.example bank.example",
		" J\u00f6rg <\"<ceo@bank.example>\"@evil.example>":        "evil.example bank.example",
		` CEO [1] <"ceo@bank.example x"@evil.example>`:            "evil.example bank.example",
		` Board: "ceo@bank.example x"@evil.example;`:              "evil.example bank.example",
		` "@bank.example x"@evil.example`:                         "evil.example bank.example",
		" \"<ceo@bank\u3002example>\"@evil.example":               "evil.example bank.example",
	} {
		a := authors(t, from)
		several := strings.Contains(from, ",")
		if got := strings.Join(a.Domains, " "); got != domains || a.Several() != several || len(a.Invalid) > 0 {
			t.Errorf("%q: domains %q, want %q; several: %t, invalid %q", from, got, domains, a.Several(), a.Invalid)
		}
	}
}

// TestInvisibleCharacters tests that a domain with characters that no reader sees counts as the domain that the reader sees too, but
// not as a second author. The Persian name has one that belongs to it.
func TestInvisibleCharacters(t *testing.T) {
	t.Parallel()
	for from, domains := range map[string]string{
		" jane@bank\u200d.example":   "xn--bank-876a.example bank.example",
		" jane@\u202dbank.example":   "xn--bank-pd7a.example bank.example",
		" jane@ba\u00adnk.example":   "bank.example",
		" jane@ba\u0081nk.example":   "xn--bank-ha.example bank.example",
		" jane@ba\u2028nk.example":   "xn--bank-1c7a.example bank.example",
		" jane@bank.example\u2800":   "bank.example",
		" jane@\u2800bank.example":   "bank.example",
		" jane@\u00a0bank.example":   "bank.example",
		" jane@نامه\u200cای.example": "xn--mgba3gch31f060k.example",
	} {
		a := authors(t, from)
		if got := strings.Join(a.Domains, " "); got != domains || a.Several() || len(a.Invalid) > 0 {
			t.Errorf("%q: domains %q, want %q; several: %t, invalid %q", from, got, domains, a.Several(), a.Invalid)
		}
	}
}

// FuzzAuthors tests that author domains can be asked for, and that an address in a second From field is never lost.
func FuzzAuthors(f *testing.F) {
	for _, s := range []string{
		" Jane <jane@example.com>", " a@bank.example, b@evil.example", " MAILER-DAEMON <>", " us:a@b.example;", " jane@bücher.example",
		" ceo@bank.example <jane@example.com> (oops", " \"@\" <@a:b@c>", " =?utf-8?q?a@b.example?= <a@[192.0.2.1]>", "\xff@\xff.", "<a@xn--.example>",
		"<@ü..\xbc>", "@ü..\xbc", "<a@bank.example..>",
		"a%b.example", "b.example!a",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, from string) {
		a := authors(t, from)
		for _, domain := range a.Domains {
			if !checks.IsHostName(domain) || domain != strings.ToLower(domain) || strings.HasSuffix(domain, ".") {
				t.Errorf("%q: %q", from, domain)
			}
		}
		if len(a.Domains) > 6 || len(a.Invalid) > 6 {
			t.Errorf("%q: %q, %q", from, a.Domains, a.Invalid)
		}
		both := authors(t, " a@bank.example", from)
		if !slices.Contains(both.Domains, "bank.example") {
			t.Errorf("%q hides the first field: %q", from, both.Domains)
		}
	})
}

func TestReceivesMail(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, `
mx.example MX 10 gone.example.net
null.example MX 0 .
a.example A 192.0.2.1
aaaa.example AAAA 2001:db8::1
text.example TXT x
!SERVFAIL broken.example
!SERVFAIL noaddress.example A
noaddress.example TXT x`)
	for _, c := range []struct {
		domain     string
		want, fail bool
	}{
		{"mx.example", true, false},
		{"null.example", false, false},
		{"a.example", true, false},
		{"aaaa.example", true, false},
		{"text.example", false, false},
		{"gone.example", false, false},
		{"broken.example", false, true},
		{"noaddress.example", false, true},
	} {
		t.Run(c.domain, func(t *testing.T) {
			t.Parallel()
			rec := &checktest.Recorder{Resolver: env.DNS}
			got, err := facts.ReceivesMail(t.Context(), checks.Env{DNS: rec}, c.domain)
			if got != c.want || (err != nil) != c.fail {
				t.Errorf("%t, %v", got, err)
			}
		})
	}
}

// TestHostileAuthors tests that From fields as long as a mail server takes them do not keep a processor busy: before the length of a
// domain was limited, 64 KiB took a minute.
func TestHostileAuthors(t *testing.T) {
	t.Parallel()
	const n = 33_000
	var different strings.Builder // the conversion takes a turn for each character
	for i := range 750 {
		different.WriteRune(rune('\u4e00' + i*7919%20_000))
	}
	var invisible strings.Builder
	for c := '\U000e0000'; c < '\U000e1000'; c++ {
		invisible.WriteRune(c)
	}
	for name, value := range map[string]string{
		"labels":                    " x@" + strings.Repeat("a!.", n) + "example.com",
		"labels after a word":       " x y@" + strings.Repeat("a_.", n) + "example.com",
		"labels of UTF-8":           " x@" + strings.Repeat("\u00e4!.", n) + "example.com",
		"address literals":          strings.Repeat(" x@["+strings.Repeat("\u00e4.", 120)+"-],", 1000),
		"six of them":               strings.Repeat(" x@"+strings.Repeat("\u00e4!.", n/6)+"example.com,", 6),
		"one label of UTF-8":        " x@" + strings.Repeat("\u00e4\u00f6\u4e00\u4e01\u4e02", n) + ".example",
		"long labels of many":       strings.Repeat(" x@"+different.String()+".example,", 900),
		"invisible characters":      " x@exam" + strings.Repeat("\u200b\u2060\ufe01\ufe02", n) + "ple.com",
		"invisible and different":   " x@exam" + strings.Repeat(invisible.String(), 50) + "ple.com",
		"an encoded address":        " =?utf-8?q?x=40" + strings.Repeat("=C3=A4!.", n) + "example.com?=",
		"encoded-words":             " =?utf-8?q?" + strings.Repeat("=?utf-8?q?a?=", n) + "@example.com",
		"angle brackets":            strings.Repeat("<a@b", n),
		"quotes":                    strings.Repeat(`"a"@`, n),
		"comments":                  strings.Repeat("(a", n),
		"comments in brackets":      "<x@example.com" + strings.Repeat("(a", n),
		"many comments":             strings.Repeat("(a)", n) + "@",
		"encoded elements":          strings.Repeat("=?a?q?=40?=,", n),
		"encoded-words without end": strings.Repeat("=?a?q?=40 ", n),
		"split domains":             strings.Repeat("a@b.c .d.e,", n),
		"what Sendmail completes":   strings.Repeat("a%b!c.d", n),
	} {
		// A second or less is usual, and ten times as long with the race detector; time that grows with the square of n is minutes.
		const most = 20 * time.Second
		var domains []string
		if took := checktest.CPUTime(t, func() { domains = authors(t, value).Domains }); took > most {
			t.Errorf("%s: %s", name, took)
		}
		hides := strings.HasPrefix(name, "labels") || strings.HasPrefix(name, "invisible")
		if hides && !slices.ContainsFunc(domains, func(d string) bool { return strings.HasSuffix(d, "example.com") }) {
			t.Errorf("%s: domains %q", name, domains)
		}
	}
}
