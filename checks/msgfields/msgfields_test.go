package msgfields_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/msgfields"
	"milterd/headers"
)

// good is the header section of an ordinary message, as the MTA passes it on.
const good = `Received: from mail.example.net (mail.example.net [192.0.2.10])
	by mx.example.org with ESMTPS id 4711
	for <user@example.org>; Sat, 21 Nov 2026 12:00:00 +0000
Date: Sat, 21 Nov 2026 11:59:58 +0000
From: Jane Doe <jane@example.net>
To: user@example.org
Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=
Message-ID: <20261121115958.4711@mail.example.net>
References: <a@example.net>
	<b@example.org>
MIME-Version: 1.0`

// parse parses a header section. Values keep their leading space and their folds, which are "\n" as in the milter protocol.
func parse(text string) []headers.Field {
	var fields []headers.Field
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			fields[len(fields)-1].Value += "\n" + line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		fields = append(fields, headers.Field{Name: name, Value: value})
	}
	return fields
}

// with returns the good header section with a field replaced by any number of lines, which may have another name.
func with(name string, lines ...string) []headers.Field {
	var fields []headers.Field
	for _, f := range parse(good) {
		if !f.Is(name) {
			fields = append(fields, f)
			continue
		}
		for _, line := range lines {
			fields = append(fields, parse(line)...)
		}
		lines = nil
	}
	for _, line := range lines {
		fields = append(fields, parse(line)...)
	}
	return fields
}

// without returns a header section without a field.
func without(name string, h []headers.Field) []headers.Field {
	return slices.DeleteFunc(h, func(f headers.Field) bool { return f.Is(name) })
}

type testCase struct {
	name   string
	header []headers.Field
	want   string // ids of the reasons
}

func build(t testing.TB) checks.Check {
	return checktest.Build[msgfields.Settings](t, msgfields.Info, checks.Env{}, nil)
}

func run(t *testing.T, cases []testCase) {
	t.Helper()
	t.Parallel()
	c := build(t)
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			// The verdicts must not depend on the client, the HELO name or the sender.
			for _, d := range []checktest.Session{
				{Client: "192.0.2.10", Helo: "mail.example.net", MailFrom: "jane@example.net"},
				{Client: "2001:db8::10", Helo: "[IPv6:2001:db8::10]", SecondHelo: "other.example.net", MailFrom: "<>"},
				{},
			} {
				d.Header = test.header
				vs, err := checktest.Ask(t, msgfields.Info, c, d.Request(t))
				if got := strings.Join(checktest.IDs(vs), " "); got != test.want || err != nil {
					t.Errorf("got %q, %v, want %q", got, err, test.want)
				}
			}
		})
	}
}

func TestDateField(t *testing.T) {
	date := func(value string) []headers.Field { return with("Date", "Date:"+value) }
	run(t, []testCase{
		{name: "a good message", header: parse(good)},
		{name: "without weekday and seconds", header: date(" 21 Nov 2026 12:00 +0000")},
		{name: "with a comment", header: date(" Sat, 21 Nov 2026 12:00:00 +0000 (UTC)")},
		{name: "folded", header: date("\n Sat, 21 Nov 2026\n\t12:00:00 +0000")},
		{name: "an obsolete form", header: date(" Sat, 21 Nov 26 12:00:00 GMT")},
		{name: "a one-digit hour", header: date(" Sat, 21 Nov 2026 9:00:00 +0000")},
		{name: "a leap second", header: date(" Sat, 21 Nov 2026 11:59:60 +0000")},
		{name: "the last zone", header: date(" Sat, 21 Nov 2026 12:00:00 +1400")},
		{name: "a name in capitals", header: with("Date", "DATE: Sat, 21 Nov 2026 12:00:00 +0000")},
		{name: "a space before the colon", header: with("Date", "Date : Sat, 21 Nov 2026 12:00:00 +0000")},

		{name: "no Date field", header: with("Date"), want: "date-missing"},
		{name: "only a Resent-Date", header: with("Date", "Resent-Date: Sat, 21 Nov 2026 12:00:00 +0000"), want: "date-missing"},
		{name: "empty", header: date(""), want: "date-invalid"},
		{name: "a word", header: date(" yesterday"), want: "date-invalid"},
		{name: "no zone", header: date(" Sat, 21 Nov 2026 12:00:00"), want: "date-lax"},
		{name: "a zone beyond +1400", header: date(" Sat, 21 Nov 2026 12:00:00 +1500"), want: "date-invalid"},
		{name: "the wrong weekday", header: date(" Sun, 21 Nov 2026 12:00:00 +0000"), want: "date-lax"},
		{name: "ISO 8601", header: date(" 2026-11-21T12:00:00Z"), want: "date-lax"},
		{name: "ISO 8601 with an hour that does not exist", header: date(" 2026-11-21T25:00:00Z"), want: "date-invalid"},
		{name: "a day that does not exist", header: date(" 31 Nov 2026 12:00:00 +0000"), want: "date-invalid"},
		{name: "an hour that does not exist", header: date(" Sat, 21 Nov 2026 25:00:00 +0000"), want: "date-invalid"},

		{name: "24 hours ahead", header: date(" Sun, 22 Nov 2026 12:00:00 +0000")},
		{name: "24 hours ahead in another zone", header: date(" Mon, 23 Nov 2026 02:00:00 +1400")},
		{name: "24 hours and a second ahead", header: date(" Sun, 22 Nov 2026 12:00:01 +0000"), want: "date-future"},
		{name: "a century ahead", header: date(" 21 Nov 2126 12:00:00 +0000"), want: "date-future"},
		{name: "the last date", header: date(" 31 Dec 9999 23:59:59 +0000"), want: "date-future"},
		{name: "a zone with an unknown name, 14 hours more", header: date(" Mon, 23 Nov 2026 02:00:00 CEST"), want: "date-lax"},
		{name: "a zone with an unknown name, over 14 hours more", header: date(" Mon, 23 Nov 2026 02:00:01 CEST"), want: "date-lax date-future"},

		{name: "30 days before", header: date(" Thu, 22 Oct 2026 12:00:00 +0000")},
		{name: "30 days and a second before", header: date(" Thu, 22 Oct 2026 11:59:59 +0000"), want: "date-past"},
		{name: "old, but re-sent today", header: with("Date", "Resent-Date: Sat, 21 Nov 2026 11:00:00 +0000", "Date: 1 Sep 2026 12:00:00 +0000")},
		{name: "old, and re-sent as long ago", header: with("Date", "Resent-Date: 2 Sep 2026 12:00:00 +0000", "Date: 1 Sep 2026 12:00:00 +0000"), want: "date-past"},
		{name: "old, and re-sent on an invalid date", header: with("Date", "Resent-Date: today", "Date: 1 Sep 2026 12:00:00 +0000"), want: "date-past"},
		{name: "the year 1970", header: date(" Thu, 1 Jan 1970 00:00:00 +0000"), want: "date-past"},
		{name: "the year 1900", header: date(" 1 Jan 1900 00:00:00 +0000"), want: "date-past"},

		{name: "two, the second invalid", header: with("Date", "Date: Sat, 21 Nov 2026 12:00:00 +0000", "Date: 1"), want: "field-duplicate"},
		{name: "two, the first empty", header: with("Date", "Date:", "Date: Sat, 21 Nov 2026 12:00:00 +0000"), want: "field-repeated"},
		{name: "two, both empty", header: with("Date", "Date:", "Date: "), want: "date-invalid field-repeated"},
	})
}

// TestDelayed tests that old mail passes if the header section shows that it was on its way soon after its date.
func TestDelayed(t *testing.T) {
	const date = "Date: Thu, 18 Jun 2026 12:00:00 +0000"
	received := func(time string) string {
		return "Received: from mail.example.net (mail.example.net [192.0.2.25])\n\tby lists.example.com id 1\n\tfor <a@example.com>; " + time
	}
	run(t, []testCase{
		{name: "no Received field but the last", header: with("Date", date), want: "date-past"},
		{name: "received at once", header: with("Date", received("Thu, 18 Jun 2026 12:00:04 +0000"), date)},
		{name: "received at once, in another zone with a comment", header: with("Date", received("Thu, 18 Jun 2026 14:00:04 +0200 (CEST)"), date)},
		{name: "the field is below others", header: with("Date", date, received("1 Sep 2026 12:00:00 +0000"), received("Thu, 18 Jun 2026 12:00:04 +0000"))},
		{name: "received before, by a clock that is wrong", header: with("Date", received("Wed, 17 Jun 2026 12:00:00 +0000"), date)},
		{name: "received 5 days later", header: with("Date", received("Tue, 23 Jun 2026 12:00:00 +0000"), date)},
		{name: "received over 5 days later", header: with("Date", received("Tue, 23 Jun 2026 12:00:01 +0000"), date), want: "date-past"},
		{name: "received on a lax date", header: with("Date", received("Thu Jun 18 12:00:04 2026"), date)},
		{name: "received on no date", header: with("Date", received("yesterday"), date), want: "date-past"},
		{name: "a Received field without a date", header: with("Date", "Received: by x 18 Jun 2026 12:00:00 +0000", date), want: "date-past"},
		{name: "another field has the time", header: with("Date", "X-Received: by x; Thu, 18 Jun 2026 12:00:04 +0000", date), want: "date-past"},
		{
			name: "re-sent, then held",
			header: with("Date", received("Tue, 1 Sep 2026 12:00:04 +0000"), "Resent-Date: Tue, 1 Sep 2026 12:00:00 +0000",
				"Date: 1 Jan 2020 12:00:00 +0000"),
		},
	})
}

func TestLimitsFromSettings(t *testing.T) {
	t.Parallel()
	c := checktest.Build(t, msgfields.Info, checks.Env{}, func(c *msgfields.Settings) {
		c.Future, c.Past = time.Hour, 2*time.Hour
	})
	for date, want := range map[string]string{
		"21 Nov 2026 13:00:00 +0000": "", "21 Nov 2026 13:00:01 +0000": "date-future",
		"21 Nov 2026 10:00:00 +0000": "", "21 Nov 2026 09:59:59 +0000": "date-past",
	} {
		r := checktest.Session{Header: without("Received", with("Date", "Date: "+date))}.Request(t)
		vs, err := checktest.Ask(t, msgfields.Info, c, r)
		if got := strings.Join(checktest.IDs(vs), " "); got != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", date, got, err, want)
		}
	}
}

func TestShortTimeInTheReply(t *testing.T) {
	t.Parallel()
	c := checktest.Build(t, msgfields.Info, checks.Env{}, func(c *msgfields.Settings) { c.Future = time.Minute })
	r := checktest.Session{Header: with("Date", "Date: 21 Nov 2026 12:59:59 +0000")}.Request(t)
	vs, err := checktest.Ask(t, msgfields.Info, c, r)
	if err != nil || len(vs) != 1 || vs[0].Detail["ahead"] != "less than an hour" {
		t.Errorf("got %v, %v", vs, err)
	}
}

// TestTimeOfSession tests that dates are compared with the time of the session, which is in the past in a replay.
func TestTimeOfSession(t *testing.T) {
	t.Parallel()
	r := checktest.Session{Header: with("Received"), Time: checktest.Now.AddDate(1, 0, 0)}.Request(t)
	vs, err := checktest.Ask(t, msgfields.Info, build(t), r)
	if got := checktest.IDs(vs); !slices.Equal(got, []string{"date-past"}) || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestMessageIDField(t *testing.T) {
	id := func(value string) []headers.Field { return with("Message-ID", "Message-Id:"+value) }
	run(t, []testCase{
		{name: "another spelling of the name", header: with("Message-ID", "message-id: <a@example.net>")},
		{name: "one label on the right", header: id(" <a@localhost>")},
		{name: "a literal on the right", header: id(" <a@[192.0.2.1]>")},
		{name: "on a line of its own", header: id("\n <a@example.net>")},
		{name: "a leading dot", header: id(" <.a@example.net>")},
		{name: "a double and a trailing dot", header: id(" <a..b.@example.net>")},
		{name: "a quoted left side", header: id(` <"a b"@example.net>`)},
		{name: "UTF-8", header: id(" <ä@example.net>"), want: "field-8bit"},
		{name: "two, the first empty", header: with("Message-ID", "Message-ID:", "Message-ID: <b@example.net>")},
		{name: "two valid ones", header: with("Message-ID", "Message-ID: <a@example.net>", "Message-ID: <b@example.net>")},

		{name: "no Message-ID field", header: with("Message-ID"), want: "msgid-missing"},
		{name: "empty", header: id(""), want: "msgid-lax"},
		{name: "no brackets", header: id(" a@example.net"), want: "msgid-lax"},
		{name: "no at sign", header: id(" <a>"), want: "msgid-lax"},
		{name: "an empty right side", header: id(" <a@>"), want: "msgid-lax"},
		{name: "two at signs", header: id(" <a@b@example.net>"), want: "msgid-lax"},
		{name: "a space inside", header: id(" <a b@example.net>"), want: "msgid-lax"},
		{name: "two in one field", header: id(" <a@example.net> <b@example.net>"), want: "msgid-lax"},
		{name: "Latin-1", header: id(" <\xe4@example.net>"), want: "msgid-lax field-8bit"},
		{name: "a comma", header: id(" <a,b@example.net>"), want: "msgid-lax"},
		{name: "a control character", header: id(" <a\x01b@example.net>"), want: "msgid-invalid"},
		{name: "over 998 octets", header: id("\n <" + strings.Repeat("a", 998) + "@b>"), want: "msgid-invalid field-too-long"},
	})
}

func TestFromField(t *testing.T) {
	from := func(value string) []headers.Field { return with("From", "From:"+value) }
	run(t, []testCase{
		{name: "an address alone", header: from(" jane@example.net")},
		{name: "several authors", header: from(` "Doe, Jane" <jane@example.net>, john@example.net`)},
		{name: "a name with dots, which is obsolete", header: from(" J. R. Doe <jane@example.net>")},
		{name: "a comment", header: from(" jane@example.net (Jane)")},
		{name: "a group, RFC 6854", header: from(" Friends: jane@example.net, john@example.net;")},
		{name: "folded", header: from("\n Jane Doe\n\t<jane@example.net>")},
		{name: "a quoted local part", header: from(` <"jane doe"@example.net>`)},

		{name: "no From field", header: with("From"), want: "from-missing"},
		{name: "only a Resent-From", header: with("From", "Resent-From: jane@example.net"), want: "from-missing"},
		{name: "empty, which Sendmail would have removed", header: from(""), want: "from-invalid"},
		{name: "no address", header: from(" nobody at all"), want: "from-invalid"},
		{name: "an empty group", header: from(" undisclosed:;"), want: "from-invalid"},
		{name: "empty angle brackets", header: from(" Jane <>"), want: "from-invalid"},
		{name: "two words in angle brackets", header: from(" <nobody at>"), want: "from-invalid"},
		{name: "a word in angle brackets", header: from(" <jane>"), want: "from-lax"},
		{name: "a word alone", header: from(" root"), want: "from-lax"},
		{name: "a comma in a name without quotes", header: from(" Doe, Jane <jane@example.net>"), want: "from-lax"},
		{name: "an at sign in a name without quotes", header: from(" jane@example.org <jane@example.net>"), want: "from-lax"},
		{name: "one quote", header: from(` "Jane Doe <jane@example.net>`), want: "from-lax"},
		{name: "no angle brackets", header: from(" Jane Doe jane@example.net"), want: "from-lax"},
		{name: "a dot too many in the domain", header: from(" Jane Doe <jane@example..net>"), want: "from-lax"},
		{name: "a dot before the domain", header: from(" Jane Doe <jane@.example.net>"), want: "from-lax"},
		{name: "8 bits in the name", header: from(" J\xe4ne <jane@example.net>"), want: "from-lax field-8bit"},
		{name: "UTF-8 in a comment", header: from(" jane@example.net (Jäne)"), want: "field-8bit"},
		{name: "two, the first empty", header: with("From", "From:", "From: jane@example.net"), want: "field-repeated"},
		{name: "two, folded in another way", header: with("From", "From: Jane  Doe <jane@example.net>", "From:\n Jane Doe\n\t<jane@example.net> "), want: "field-repeated"},
		{name: "two", header: with("From", "From: jane@example.net", "From: john@example.net"), want: "field-duplicate"},
		{name: "two, one with another spelling of the name", header: with("From", "From: jane@example.net", "FROM : john@example.net"), want: "field-duplicate"},
	})
}

func TestRepetitions(t *testing.T) {
	var cases []testCase
	for _, c := range []struct{ line, differs, want string }{
		{"Date: Sat, 21 Nov 2026 12:00:00 +0000", "Date: Sat, 21 Nov 2026 12:00:01 +0000", "field-duplicate"},
		{"From: jane@example.net", "From: john@example.net", "field-duplicate"},
		{"Sender: jane@example.net", "Sender: john@example.net", "field-duplicate"},
		{"Subject: x", "subject : y", "field-duplicate"},
		{"Reply-To: jane@example.net", "Reply-To: john@example.net", "field-repeated"},
		{"To: user@example.org", "TO: x@example.org", "field-repeated"},
		{"Cc: user@example.org", "cc: x@example.org", "field-repeated"},
		{"Bcc: user@example.org", "Bcc: x@example.org", "field-repeated"},
	} {
		name, _, _ := strings.Cut(c.line, ":")
		cases = append(
			cases,
			testCase{name: "one " + name, header: with(name, c.line)},
			testCase{name: "two equal " + name, header: with(name, c.line, c.line), want: "field-repeated"},
			testCase{name: "an empty second " + name, header: with(name, c.line, name+":"), want: "field-repeated"},
			testCase{name: "two different " + name, header: with(name, c.line, c.differs), want: c.want},
			testCase{name: "three " + name + ", the last different", header: with(name, c.line, c.line, c.differs), want: c.want},
		)
	}
	for _, line := range []string{
		"References: <a@example.net>", "In-Reply-To: <a@example.net>", "Message-ID: <a@example.net>",
		"Return-Path: <jane@example.net>", "Received: from x", "MIME-Version: 1.0", "Content-Type: text/plain",
		"Resent-From: jane@example.net", "Resent-Date: Sat, 21 Nov 2026 12:00:00 +0000", "Comments: x", "X-Subject: x",
	} {
		name, _, _ := strings.Cut(line, ":")
		cases = append(cases, testCase{name: "two " + name, header: with(name, line, line)})
	}
	run(t, cases)
}

func TestSyntaxOfFields(t *testing.T) {
	long := func(n int) string { return "X-Long: " + strings.Repeat("x", n-len("X-Long: ")) }
	field := func(name, value string) []headers.Field {
		return append(parse(good), headers.Field{Name: name, Value: value})
	}
	run(t, []testCase{
		{name: "a line of 998 bytes", header: with("X-Long", long(998))},
		{name: "a line of 999 bytes", header: with("X-Long", long(999)), want: "field-too-long"},
		{name: "a long field with short lines", header: with("X-Long", "X-Long: x"+strings.Repeat("\n "+strings.Repeat("x", 900), 2))},
		{name: "a second line of 999 bytes", header: field("X-Long", " x\n "+strings.Repeat("x", 998)), want: "field-too-long"},
		{name: "a fold by CRLF is not counted", header: field("X-Long", " x\r\n "+strings.Repeat("x", 997)+"\r\n x")},

		{name: "UTF-8", header: field("X-Word", " Grüße"), want: "field-8bit"},
		{name: "Latin-1", header: field("X-Word", " Gr\xfc\xdfe"), want: "field-8bit"},

		{name: "a space in the name", header: field("X Word", " x"), want: "field-syntax"},
		{name: "an empty name", header: field("", " x"), want: "field-syntax"},
		{name: "a control character in the name", header: field("X\x01", " x"), want: "field-syntax"},
		{name: "8 bits in the name", header: field("X-Wört", " x"), want: "field-8bit field-syntax"},
		{name: "NUL", header: field("X-Word", " a\x00b"), want: "field-syntax"},
		{name: "a bare CR", header: field("X-Word", " a\rFrom: b"), want: "field-syntax"},
		{name: "spaces before the colon, which is obsolete", header: field("X-Word  ", " x")},

		{name: "the same fault in two fields", header: append(field("X Word", " x"), headers.Field{Name: "Y Word", Value: " y"}), want: "field-syntax"},
		{name: "no header section", header: nil, want: "date-missing msgid-missing from-missing"},
	})
}

func TestValuesInReplies(t *testing.T) {
	t.Parallel()
	c := build(t)
	for _, test := range []struct {
		header            []headers.Field
		reason, key, want string
	}{
		{with("Date", "Date:  x y "), "date-invalid", "date", "x y"},
		{with("Date", "Date: 21 Nov 2026 25:00 +0000"), "date-invalid", "fault", "hour 25 is over 23"},
		{with("Date", "Date: 22 Nov 2026 13:00:00 +0000"), "date-future", "ahead", "25 h"},
		{with("Date", "Date: 31 Dec 9999 23:59:59 +0000"), "date-future", "ahead", "2912118 days"},
		{with("Date", "Date: 1 Jan 1900 00:00:00 +0000"), "date-past", "age", "46345 days"},
		{with("Message-ID", "Message-ID: <a>"), "msgid-lax", "message_id", "<a>"},
		{with("Message-ID", "Message-ID: <a>"), "msgid-lax", "fault", "no @ in the message id"},
		{with("From", "From: "), "from-invalid", "fault", "the field is empty"},
		{with("From", "From: (Jane)"), "from-invalid", "fault", "no address"},
		{with("From", "From: nobody"), "from-lax", "from", "nobody"},
		{with("Subject", "SUBJECT: a", "Subject: b", "subject: c"), "field-duplicate", "field", "Subject"},
		{with("Subject", "SUBJECT: a", "Subject: b", "subject: c"), "field-duplicate", "count", "3"},
		{with("X-Long", "X-Long: "+strings.Repeat("x", 2000)), "field-too-long", "length", "2008"},
		{with("X-8", "X-8: \xff"), "field-8bit", "field", "X-8"},
		{with("X 8", "X 8: x"), "field-syntax", "field", "X 8"},
	} {
		vs, _ := checktest.Ask(t, msgfields.Info, c, checktest.Session{Header: test.header}.Request(t))
		i := slices.IndexFunc(vs, func(v checks.Verdict) bool { return v.Reason.ID == test.reason })
		if i < 0 {
			t.Errorf("no %s in %q", test.reason, checktest.IDs(vs))
		} else if got := vs[i].Detail[test.key]; got != test.want {
			t.Errorf("%s: %s is %q, want %q", test.reason, test.key, got, test.want)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for _, bad := range []msgfields.Settings{{Future: time.Hour}, {Past: time.Hour}, {Future: -1, Past: 1}} {
		if bad.Validate() == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	c := build(b)
	for name, header := range map[string][]headers.Field{
		"good":      parse(good),
		"30 fields": append(parse(good), slices.Repeat(parse("X-Some-Header: with a value of fair length; as filters write them"), 21)...),
		"bad":       with("Date", "Date: yesterday"),
	} {
		b.Run(name, func(b *testing.B) {
			r := checktest.Session{Header: header}.Request(b)
			r.Stage = checks.EndOfHeader
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Check(context.Background(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
