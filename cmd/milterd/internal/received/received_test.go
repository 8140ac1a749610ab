package received

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"milterd/headers"
)

// fields parses the header section of a test. A line that starts with a space continues the last one.
func fields(text string) []headers.Field {
	var out []headers.Field
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		line = strings.TrimLeft(line, "\t")
		if strings.HasPrefix(line, " ") && len(out) > 0 {
			out[len(out)-1].Value += "\n" + line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		out = append(out, headers.Field{Name: name, Value: value})
	}
	return out
}

var site = Site{
	Hostname: "mx.example.org", Domains: []string{"example.org"},
	Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")},
}

const date = "; Thu, 21 Nov 2024 12:00:00 +0000"

// messages are header sections with what format returns of their facts.
var messages = []struct{ name, header, want string }{
	{"delivered by Postfix", `
		Return-Path: <alice@example.net>
		X-Original-To: bob@example.org
		Delivered-To: robert@store.example.org
		Received: from mail.example.net (mail.example.net [192.0.2.9]) by mx.example.org (Postfix) with ESMTP id 1A` + date + `
		Received: from laptop by mail.example.net with ESMTPSA` + date + `
		From: alice`,
		"client, HELO, sender, recipient, time: 192.0.2.9 mail.example.net mail.example.net <alice@example.net> <bob@example.org> 12:00 by mx.example.org: Received From"},
	{"the recipient in Received before that in Delivered-To", `
		Delivered-To: robert@example.org
		Received: from a (b [192.0.2.9]) by mx.example.org (Postfix) with ESMTP id 1A for <bob@example.org>` + date,
		"client, HELO, recipient, time: 192.0.2.9 b a <> <bob@example.org> 12:00 by mx.example.org:"},
	{"the reverse-path in Received, a bounce", `
		Received: from a ([192.0.2.9]) by mx.example.org with esmtp (Exim 4.98) (envelope-from <>) id 1A` + date,
		"client, HELO, sender, time: 192.0.2.9 a a <> <> 12:00 by mx.example.org:"},
	{"after a content filter and a mail store", `
		Return-Path: <alice@example.net>
		Delivered-To: bob@example.org
		Received: from mx.example.org by store.example.org with LMTP id IP` + date + `
		Received: from localhost (localhost [127.0.0.1]) by mx.example.org (Postfix) with ESMTP id 2B for <bob@example.org>` + date + `
		Received: from mx.example.org ([127.0.0.1]) by localhost (mx.example.org [127.0.0.1]) (amavisd-new, port 10024) with ESMTP id x` + date + `
		Received: from mail.example.net (unknown [192.0.2.9]) by mx.example.org (Postfix) with ESMTP id 1A` + date + `
		Received: from x ([198.51.100.7]) by mx.example.org with SMTP` + date + `
		Subject: x`,
		"client, HELO, sender, recipient, time: 192.0.2.9  mail.example.net <alice@example.net> <bob@example.org> 12:00 by mx.example.org: Received Subject"},
	{"a mail store that receives by LMTP with SMTP AUTH over TCP", `
		Received: from mx.example.org (mx.example.org [203.0.113.1]) by store.example.org (Cyrus 3.8) with LMTPSA` + date + `
		Received: from mail.example.net (unknown [192.0.2.9]) by mx.example.org (Postfix) with ESMTP id 1A` + date,
		"client, HELO, time: 192.0.2.9  mail.example.net <> <> 12:00 by mx.example.org:"},
	{"submitted by webmail", `
		Received: from localhost (localhost [127.0.0.1]) by mx.example.org (Postfix) with ESMTP id 2B` + date + `
		Received: from [198.51.100.7] by webmail.example.org with HTTP (HTTP/1.1 POST)` + date,
		"local time: invalid IP   <> <> 12:00 by webmail.example.org:"},
	{"fetched from a mailbox", `
		Received: from localhost (localhost [127.0.0.1]) by mx.example.org (Postfix) with ESMTP id 2B` + date + `
		Received: from pop.example.com [192.0.2.80] by mx.example.org with POP3 (fetchmail-6.3.26) for <me@localhost> (single-drop)` + date + `
		Received: from a (b [192.0.2.9]) by mx.example.com (Postfix) with ESMTP id 1A` + date,
		"local HELO, recipient, time: invalid IP  pop.example.com <> <me@localhost> 12:00 by mx.example.org: Received"},
	{"a mail store of another site above", `
		Return-Path: <alice@example.net>
		Received: by 2002:a05:6a00 with SMTP id e7` + date + `
		Received: from mx.example.org (mx.example.org. [203.0.113.1]) by mx.google.com with ESMTPS id d2` + date + `
		Received: from mail.example.net (mail.example.net [192.0.2.9]) by mx.example.org (Postfix) with ESMTP id 1A` + date,
		"client, HELO, sender, time: 192.0.2.9 mail.example.net mail.example.net <alice@example.net> <> 12:00 by mx.example.org:"},
	{"another border host, in a local domain", `
		Received: from a (b [192.0.2.9]) by MX2.Example.ORG. (Postfix) with ESMTP id 1A` + date,
		"client, HELO, time: 192.0.2.9 b a <> <> 12:00 by MX2.Example.ORG:"},
	{"no host of the site", `
		Return-Path: <alice@example.net>
		Received: from a (b [192.0.2.9]) by mx.example.com (Postfix) with ESMTP id 1A` + date + `
		Date: x`,
		"sender, time: invalid IP   <alice@example.net> <> 12:00 by mx.example.com: Return-Path Received Date"},
	{"no host of the site, fetched and passed on in the host", `
		Received: from localhost (localhost [127.0.0.1]) by home.example.com (Postfix) with ESMTP id 1C; Sat, 21 Nov 2026 15:00:00 +0000
		Received: from pop.example.com [192.0.2.80] by home.example.com with POP3 (fetchmail-6.3.26) for <me@localhost> (single-drop); Sat, 21 Nov 2026 14:00:00 +0000
		Received: by mx.example.com (Postfix, from userid 1000) id 1B; Sat, 21 Nov 2026 13:00:00 +0000
		Received: from a (b [192.0.2.9]) by mx.example.com (Postfix) with ESMTP id 1A` + date + `
		Received: from c (d [192.0.2.10]) by a.example.net (Postfix) with ESMTP id 2A; Sat, 21 Nov 2026 11:00:00 +0000`,
		"time: invalid IP   <> <> 12:00 by home.example.com: Received Received Received Received Received"},
	{"no host of the site, only within one host", `
		Return-Path: <alice@example.net>
		Received: from localhost (localhost [::1]) by home.example.com (Postfix) with ESMTP id 1C` + date,
		" : invalid IP   <> <> - by home.example.com: Return-Path Received"},
	{"a name that contains a domain of the site", `
		Received: from a (b [192.0.2.9]) by mx.notexample.org (Postfix) with ESMTP id 1A` + date,
		"time: invalid IP   <> <> 12:00 by mx.notexample.org: Received"},
	{"no trace fields", "From: alice\nSubject: x", " : invalid IP   <> <> - by : From Subject"},
	{"submitted", `
		Return-Path: <bob@example.org>
		Received: by mx.example.org (Postfix, from userid 1000) id 1A` + date + `
		To: alice`,
		"local sender, time: invalid IP   <bob@example.org> <> 12:00 by mx.example.org: To"},
	{"from the site's own network", `
		Received: from app (app.example.org [10.1.2.3]) by mx.example.org (Postfix) with ESMTP id 1A for <bob@example.org>` + date + `
		Received: by app with local` + date,
		"local time: invalid IP   <> <> 12:00 by app:"},
	{"authenticated from outside", `
		Received: from laptop (dyn.example.net [192.0.2.9]) (Authenticated sender: bob) by mx.example.org (Postfix) with ESMTPSA id 1A` + date,
		"client, HELO, time: 192.0.2.9 dyn.example.net laptop bob <> <> 12:00 by mx.example.org:"},
	{"no address of the client", `
		Received: from mail.example.net by mx.example.org (PMDF V4.3-10 #8779)` + date,
		"HELO, time: invalid IP  mail.example.net <> <> 12:00 by mx.example.org:"},
	{"no time", `
		Received: from a (b [192.0.2.9]) by mx.example.org (Postfix) with ESMTP id 1A; soon`,
		"client, HELO: 192.0.2.9 b a <> <> - by mx.example.org:"},
	{"facts from Authentication-Results", `
		Received: from mail.example.net by mx.example.org (PMDF V4.3-10 #8779)` + date + `
		DKIM-Filter: OpenDKIM Filter v2.11.0 mx.example.org 1A
		Authentication-Results: mx.example.org; iprev=pass policy.iprev=192.0.2.9;
		 spf=pass (mx.example.org: domain of x) smtp.mailfrom="alice@example.net" smtp.helo=mail.example.net
		Authentication-Results: mx.example.net; iprev=pass policy.iprev=198.51.100.1
		Received: from x by y
		Authentication-Results: mx.example.org; iprev=pass policy.iprev=198.51.100.2`,
		"client, HELO, sender, time: 192.0.2.9  mail.example.net <alice@example.net> <> 12:00 by mx.example.org: DKIM-Filter Authentication-Results Received Authentication-Results"},
	{"facts from Received-SPF above the border", `
		Received-SPF: Pass (mailfrom) identity=mailfrom; client-ip=192.0.2.9; helo=mail.example.net; envelope-from=alice@example.net; receiver=mx.example.org
		Received: from mail.example.net by mx.example.org (PMDF V4.3-10 #8779)` + date,
		"client, HELO, sender, time: 192.0.2.9  mail.example.net <alice@example.net> <> 12:00 by mx.example.org:"},
	{"results of another site", `
		Received: from mail.example.net by mx.example.org (PMDF V4.3-10 #8779)` + date + `
		Received-SPF: Pass (mailfrom) client-ip=192.0.2.9; receiver=mx.example.com`,
		"HELO, time: invalid IP  mail.example.net <> <> 12:00 by mx.example.org: Received-SPF"},
	{"a Return-Path without angle brackets", `
		Return-Path: alice@example.net
		Received: from a (b [192.0.2.9]) by mx.example.org (Postfix) with ESMTP id 1A` + date,
		"client, HELO, sender, time: 192.0.2.9 b a <alice@example.net> <> 12:00 by mx.example.org:"},
	{"a Return-Path without an address above the right one", `
		Return-Path: bob
		Return-Path: <alice@example.net>
		Received: from a (b [192.0.2.9]) by mx.example.org (Postfix) with ESMTP id 1A` + date,
		"client, HELO, sender, time: 192.0.2.9 b a <alice@example.net> <> 12:00 by mx.example.org:"},
	{"a Return-Path without an address", `
		Return-Path: bob
		Received: from a (b [192.0.2.9]) by mx.example.org (Postfix) with ESMTP id 1A` + date,
		"client, HELO, time: 192.0.2.9 b a <> <> 12:00 by mx.example.org:"},
	{"an empty Return-Path", `
		Return-Path:
		Received: from a (b [192.0.2.9]) by mx.example.org (Postfix) with ESMTP id 1A` + date,
		"client, HELO, time: 192.0.2.9 b a <> <> 12:00 by mx.example.org:"},
	{"half a Return-Path", `
		Return-Path: <alice@example.net
		Received: from a (b [192.0.2.9]) by mx.example.org (Postfix) with ESMTP id 1A` + date,
		"client, HELO, time: 192.0.2.9 b a <> <> 12:00 by mx.example.org:"},
	{"an empty Return-Path, no host of the site", `
		Return-Path:
		Received: from a (b [192.0.2.9]) by mx.example.com (Postfix) with ESMTP id 1A` + date,
		"time: invalid IP   <> <> 12:00 by mx.example.com: Return-Path Received"},
	{"a Return-Path from the client", `
		Received: from a (b [192.0.2.9]) by mx.example.org (Postfix) with ESMTP id 1A` + date + `
		Return-Path: <mallory@example.com>
		Delivered-To: mallory@example.com`,
		"client, HELO, time: 192.0.2.9 b a <> <> 12:00 by mx.example.org: Return-Path Delivered-To"},
	{"a Message-ID from the border host", `
		Received: from a (b [192.0.2.9]) by mx.example.org (Postfix) with ESMTP id 4XvK2` + date + `
		Message-Id: <20241121120000.4XvK2@mx.example.org>
		Message-ID: <4XvK2@mx.example.net>`,
		"client, HELO, time: 192.0.2.9 b a <> <> 12:00 by mx.example.org: Message-ID"},
}

func TestRead(t *testing.T) {
	t.Parallel()
	for _, c := range messages {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := format(Read(fields(c.header), site)); got != c.want {
				t.Errorf("\ngot  %q\nwant %q", got, c.want)
			}
		})
	}
}

// format returns facts on one line: the names of those that are known, and their values.
func format(f Facts) string {
	known, clock := f.Known.String(), "-"
	if f.Local {
		known = "local " + known
	}
	if known == "" {
		known = " "
	}
	if !f.Time.IsZero() {
		clock = f.Time.UTC().Format("15:04")
	}
	user := ""
	if f.User != "" {
		user = " " + f.User
	}
	out := fmt.Sprintf("%s: %s %s %s%s <%s> <%s> %s by %s:", known, f.Client, f.ClientName, f.Helo, user, f.From, f.To, clock, f.By)
	for _, h := range f.Header {
		out += " " + h.Name
	}
	return out
}

func TestEmptySite(t *testing.T) {
	t.Parallel()
	if f := Read(fields("Received: from a (b [192.0.2.9]) by mx.example.org"), Site{}); f.Known != 0 || f.By != "mx.example.org" {
		t.Errorf("got %+v", f)
	}
}

// FuzzRead tests that nothing is known of a session without a host of the site, that values are in a field,
// and that the set of known facts agrees with them.
func FuzzRead(f *testing.F) {
	for _, c := range received {
		f.Add("Return-Path: <a@example.net>\nReceived: " + c.value + "\nReceived: from x ([127.0.0.1]) by mx.example.org\nSubject: x")
	}
	f.Add("Received-SPF: pass client-ip=192.0.2.9; receiver=mx.example.org\nReceived: by mx.example.org\nAuthentication-Results: example.org 1; auth=pass smtp.auth=\"bob\"")
	f.Add("Return-Path: <>\nReceived: from 0 by 0; Sat, 21 Nov 2026 12:00:00 +0000")
	f.Add("Return-Path: 0\n\t 0\nReceived: by mx.example.org")
	f.Fuzz(func(t *testing.T, text string) {
		all := fields(text)
		facts := Read(all, site)
		if !strings.Contains(strings.ToLower(text), "example.org") && !strings.Contains(text, "[") && (facts.Known&^(Time|Sender) != 0 || facts.Local) {
			t.Errorf("%+v", facts)
		}
		if len(facts.Header) > len(all) {
			t.Errorf("%d fields of %d", len(facts.Header), len(all))
		}
		if facts.Known&Client != 0 != facts.Client.IsValid() && !facts.Local {
			t.Errorf("%+v", facts)
		}
		if facts.Known&Time != 0 == facts.Time.IsZero() {
			t.Errorf("%+v", facts)
		}
		for _, s := range []string{facts.Helo, facts.From, facts.To, facts.ClientName, facts.By} {
			if !slices.ContainsFunc(all, func(f headers.Field) bool { return strings.Contains(f.Value, s) }) {
				t.Errorf("%q is in no field", s)
			}
		}
	})
}
