package received

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"milterd/headers"
)

// noon is the time of all fields.
const noon = "Thu, 21 Nov 2024 12:00:00 +0000"

// received are Received fields of many programs, each with its source. Names and addresses are replaced by those for
// documentation (RFC 2606, RFC 5737, RFC 3849).
var received = []struct {
	name, source, value string
	want                hop
}{
	{"Postfix", "smtpd.c, cmd data: \"from %s (%s [%s])\", and a message that Postfix 3.10 delivered",
		"from mail.example.net (mail.example.net [192.0.2.9])\n\tby mx.example.org (Postfix) with ESMTP id 4XvK2m1z9\n\tfor <bob@example.org>; " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), clientName: "mail.example.net", helo: "mail.example.net", protocol: "ESMTP", id: "4XvK2m1z9", to: "bob@example.org"}},
	{"Postfix, no name", "smtpd.c: the name is \"unknown\"",
		"from wlan.example.net (unknown [192.0.2.9]) by mx.example.org (Postfix) with SMTP id 1A; " + noon + " (UTC)",
		hop{by: "mx.example.org", client: addr("192.0.2.9"), helo: "wlan.example.net", protocol: "SMTP", id: "1A"}},
	{"Postfix, an address literal as HELO", "smtpd.c",
		"from [198.51.100.1] (unknown [192.0.2.9]) by mx.example.org (Postfix) with ESMTP id 1A; " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), helo: "[198.51.100.1]", protocol: "ESMTP", id: "1A"}},
	{"Postfix, IPv6, TLS and a certificate", "smtpd.c: TLS summary and certificate are comments",
		"from mail.example.net (mail.example.net [IPv6:2001:db8::9])\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\n\t key-exchange X25519)\n\t(Client CN \"mail.example.net\", Issuer \"by R3\" (verified OK))\n\tby mx.example.org (Postfix) with ESMTPS id 1A\n\tfor <bob@example.org>; " + noon,
		hop{by: "mx.example.org", client: addr("2001:db8::9"), clientName: "mail.example.net", helo: "mail.example.net", protocol: "ESMTPS", id: "1A", to: "bob@example.org"}},
	{"Postfix, authenticated", "smtpd.c, smtpd_sasl_authenticated_header = yes",
		"from laptop (dyn.example.net [192.0.2.9])\n\t(Authenticated sender: bob)\n\tby mx.example.org (Postfix) with ESMTPSA id 1A; " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), clientName: "dyn.example.net", helo: "laptop", protocol: "ESMTPSA", user: "bob", authenticated: true, id: "1A"}},
	{"Postfix, authenticated, without the user's name", "RFC 3848: ESMTPA",
		"from laptop (dyn.example.net [192.0.2.9]) by mx.example.org (Postfix) with ESMTPA id 1A; " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), clientName: "dyn.example.net", helo: "laptop", protocol: "ESMTPA", authenticated: true, id: "1A"}},
	{"Postfix, pickup", "pickup.c",
		"by mx.example.org (Postfix, from userid 1000)\n\tid 1A; " + noon,
		hop{by: "mx.example.org", id: "1A", handover: true}},
	{"amavis", "amavisd-new, as published in Postfix's FILTER_README discussions",
		"from mx.example.org ([127.0.0.1])\n\tby localhost (mx.example.org [127.0.0.1]) (amavisd-new, port 10024)\n\twith ESMTP id x-Y for <bob@example.org>; " + noon,
		hop{by: "localhost", client: addr("127.0.0.1"), helo: "mx.example.org", protocol: "ESMTP", id: "x-Y", to: "bob@example.org"}},

	{"Sendmail", "cf/m4/cfhead.m4, confRECEIVED_HEADER",
		"from mail.example.net (mail.example.net [192.0.2.9])\n\tby mx.example.org (8.18.1/8.18.1) with ESMTPS id 4ALC0 (version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 bits=256 verify=NO)\n\tfor <bob@example.org>; " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), clientName: "mail.example.net", helo: "mail.example.net", protocol: "ESMTPS", id: "4ALC0", to: "bob@example.org"}},
	{"Sendmail, no name", "the same, $_ without a name",
		"from mail.example.net ([192.0.2.9])\n\tby mx.example.org (8.18.1/8.18.1) with ESMTP id 4ALC0; " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), helo: "mail.example.net", protocol: "ESMTP", id: "4ALC0"}},
	{"Sendmail, an unconfirmed name", "the same; SpamAssassin, Received.pm",
		"from mail.example.net (host66.example.com [192.0.2.9] (may be forged)) by mx.example.org (8.11.6/8.11.6) with ESMTP id h2; " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), clientName: "host66.example.com", helo: "mail.example.net", protocol: "ESMTP", id: "h2"}},
	{"Sendmail, IPv6, ident", "the same; $_ with RFC 1413",
		"from mail.example.net (root@mail.example.net [IPv6:2001:db8:0:0:0:0:0:9])\n\tby mx.example.org (8.18.1/8.18.1) with ESMTP id h2; " + noon,
		hop{by: "mx.example.org", client: addr("2001:db8::9"), clientName: "mail.example.net", helo: "mail.example.net", protocol: "ESMTP", id: "h2"}},
	{"Sendmail, authenticated", "cfhead.m4: (authenticated bits=...)",
		"from laptop (dyn.example.net [192.0.2.9])\n\t(authenticated bits=0)\n\tby mx.example.org (8.18.1/8.18.1) with ESMTPA id h2; " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), clientName: "dyn.example.net", helo: "laptop", protocol: "ESMTPA", authenticated: true, id: "h2"}},
	{"Sendmail, submitted", "a message that Sendmail 8.18 delivered",
		"(from root@localhost)\n\tby mx.example.org (8.18.1/8.18.1/Submit) id h2;\n\t" + noon,
		hop{by: "mx.example.org", id: "h2", handover: true}},

	{"Exim", "Exim specification, received_header_text; host.c, host_build_sender_fullhost",
		"from mail.example.net ([192.0.2.9])\n\tby mx.example.org with esmtps  (TLS1.3) tls TLS_AES_256_GCM_SHA384\n\t(Exim 4.98)\n\t(envelope-from <alice@example.net>)\n\tid 1tE5xK-00000001-ABCD\n\tfor bob@example.org;\n\t" + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), clientName: "mail.example.net", helo: "mail.example.net", protocol: "ESMTPS", id: "1tE5xK-00000001-ABCD", to: "bob@example.org", from: "alice@example.net", hasFrom: true}},
	{"Exim, HELO is another name", "the same",
		"from out.example.net ([192.0.2.9]:41234 helo=mail.example.net ident=mail)\n\tby mx.example.org with esmtp (Exim 4.98)\n\t(envelope-from <>)\n\tid 1tE5; " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), clientName: "out.example.net", helo: "mail.example.net", protocol: "ESMTP", id: "1tE5", hasFrom: true}},
	{"Exim, no name", "the same",
		"from [192.0.2.9] (helo=mail.example.net)\n\tby mx.example.org with smtp (Exim 4.98)\n\tid 1tE5; " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), helo: "mail.example.net", protocol: "SMTP", id: "1tE5"}},
	{"Exim, no name, a false address literal", "the same",
		"from [192.0.2.9] (helo=[198.51.100.1])\n\tby mx.example.org with smtp (Exim 4.98)\n\tid 1tE5; " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), helo: "[198.51.100.1]", protocol: "SMTP", id: "1tE5"}},
	{"Exim, the address alone", "the same: no HELO, or the address as literal",
		"from [192.0.2.9]\n\tby mx.example.org with esmtp (Exim 4.98)\n\tid 1tE5; " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), protocol: "ESMTP", id: "1tE5"}},
	{"Exim, authenticated", "RFC 3848 in lower case; asmtp before Exim 4.34 (SpamAssassin, Received.pm)",
		"from dyn.example.net ([192.0.2.9] helo=laptop) by mx.example.org with asmtp (Exim 4.24) id 1tE5; " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), clientName: "dyn.example.net", helo: "laptop", protocol: "ASMTP", authenticated: true, id: "1tE5"}},
	{"Exim, submitted", "the same",
		"from bob by mx.example.org with local (Exim 4.98)\n\t(envelope-from <bob@example.org>)\n\tid 1tE5; " + noon,
		hop{by: "mx.example.org", helo: "bob", protocol: "LOCAL", id: "1tE5", from: "bob@example.org", hasFrom: true, handover: true}},

	{"Exchange", "Exchange Server 2016; Microsoft Learn, message headers, and SpamAssassin, Received.pm",
		"from mail.example.net (192.0.2.9) by EX01.example.org\n (10.0.0.5) with Microsoft SMTP Server (version=TLS1_2,\n cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id 15.1.2507.44 via Frontend\n Transport; " + noon,
		hop{by: "EX01.example.org", client: addr("192.0.2.9"), helo: "mail.example.net", protocol: "MICROSOFT SMTP SERVER", id: "15.1.2507.44"}},
	{"Exchange, IPv6 with a zone", "SpamAssassin, Received.pm",
		"from EX02.example.org ([fe80::1]) by EX01.example.org\n ([fe80::19bd:c588:dd17:5226%6]) with mapi id 15.20.1943.023; " + noon,
		hop{by: "EX01.example.org", client: addr("fe80::1"), protocol: "MAPI", id: "15.20.1943.023", handover: true}},
	{"Microsoft SMTPSVC", "SpamAssassin, Received.pm",
		"from mail ([192.0.2.9] unverified) by mx.example.org with Microsoft\n SMTPSVC(5.0.2195.6624); " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), helo: "mail", protocol: "MICROSOFT SMTPSVC"}},
	{"Microsoft, pickup", "SpamAssassin, Received.pm",
		"from mail pickup service by mx.example.org with Microsoft SMTPSVC; " + noon,
		hop{by: "mx.example.org", helo: "mail", protocol: "MICROSOFT SMTPSVC", handover: true}},

	{"Gmail", "a published message of 2024",
		"from mail.example.net (mail.example.net. [192.0.2.9])\n        by mx.google.com with ESMTPS id d2e1a72fcca58-724bef8\n        for <bob@example.org>\n        (version=TLS1_3 cipher=TLS_AES_256_GCM_SHA384 bits=256/256);\n        " + noon,
		hop{by: "mx.google.com", client: addr("192.0.2.9"), clientName: "mail.example.net", helo: "mail.example.net", protocol: "ESMTPS", id: "d2e1a72fcca58-724bef8", to: "bob@example.org"}},
	{"Gmail, no name", "a published message",
		"from mail.example.net ([2001:db8::9]) by mx.google.com with SMTP id x1 for <bob@example.org>; " + noon,
		hop{by: "mx.google.com", client: addr("2001:db8::9"), helo: "mail.example.net", protocol: "SMTP", id: "x1", to: "bob@example.org"}},
	{"Gmail, internal", "a published message",
		"by 2002:a05:6a00:1a87:b0:724:bef8 with SMTP id e7csp1; " + noon,
		hop{by: "2002:a05:6a00:1a87:b0:724:bef8", protocol: "SMTP", id: "e7csp1", handover: true}},

	{"qmail", "received.c of qmail 1.03",
		"from mail.example.net (192.0.2.9)\n  by mx.example.org with SMTP; 21 Nov 2024 12:00:00 -0000",
		hop{by: "mx.example.org", client: addr("192.0.2.9"), clientName: "mail.example.net", helo: "mail.example.net", protocol: "SMTP"}},
	{"qmail, HELO is another name", "the same",
		"from unknown (HELO mail.example.net) (alice@192.0.2.9)\n  by mx.example.org with SMTP; 21 Nov 2024 12:00:00 -0000",
		hop{by: "mx.example.org", client: addr("192.0.2.9"), helo: "mail.example.net", protocol: "SMTP"}},
	{"qmail, neither name nor HELO", "the same",
		"from unknown (192.0.2.9)\n  by mx.example.org with SMTP; 21 Nov 2024 12:00:00 -0000",
		hop{by: "mx.example.org", client: addr("192.0.2.9"), protocol: "SMTP"}},
	{"qmail, TLS patch", "netqmail-1.06-tls",
		"from out.example.net (HELO mail.example.net) (192.0.2.9)\n  by mx.example.org with (TLS_AES_256_GCM_SHA384 encrypted) SMTP; 21 Nov 2024 12:00:00 -0000",
		hop{by: "mx.example.org", client: addr("192.0.2.9"), clientName: "out.example.net", helo: "mail.example.net", protocol: "SMTP"}},
	{"qmail, TLS patch without parentheses", "netqmail-1.05-tls",
		"from unknown (HELO x) (192.0.2.9) by mx.example.org with DHE-RSA-AES256-SHA encrypted SMTP; 21 Nov 2024 12:00:00 -0000",
		hop{by: "mx.example.org", client: addr("192.0.2.9"), helo: "x", protocol: "SMTP"}},
	{"qmail, invoked", "qmail-queue.c",
		"(qmail 12345 invoked from network); 21 Nov 2024 12:00:00 -0000",
		hop{handover: true}},

	{"OpenSMTPD", "smtp_session.c",
		"from mail.example.net (mail.example.net [192.0.2.9]) by mx.example.org (OpenSMTPD) with ESMTPS id 5db34e0d (TLSv1.3:TLS_AES_256_GCM_SHA384:256:NO) for <bob@example.org>; " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), clientName: "mail.example.net", helo: "mail.example.net", protocol: "ESMTPS", id: "5db34e0d", to: "bob@example.org"}},
	{"Haraka", "connection.js, received_line",
		"from mail.example.net (out.example.net [192.0.2.9]) by mx.example.org (Haraka/3.0.3) with ESMTPS id 1-2-3.1 envelope-from <alice@example.net> tls TLS_AES_256_GCM_SHA384; " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), clientName: "out.example.net", helo: "mail.example.net", protocol: "ESMTPS", id: "1-2-3.1", from: "alice@example.net", hasFrom: true}},
	{"Courier", "SpamAssassin, Received.pm",
		"from mail.example.net (out.example.net [::ffff:192.0.2.9]) (AUTH: LOGIN bob) by mx.example.org with esmtp; " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), clientName: "out.example.net", helo: "mail.example.net", protocol: "ESMTP", user: "bob", authenticated: true}},
	{"Dovecot LMTP", "lmtp-proxy and lmtp-local of Dovecot 2.3",
		"from mx.example.org\n\tby store.example.org with LMTP\n\tid IPcR; " + noon,
		hop{by: "store.example.org", helo: "mx.example.org", protocol: "LMTP", id: "IPcR", handover: true}},
	{"Dovecot LMTP, over TCP", "smtp-server-transaction.c, smtp_server_transaction_write_trace_record",
		"from mx.example.org ([203.0.113.1])\n\tby store.example.org with LMTP\n\tid IPcR\n\t(envelope-from <alice@example.net>)\n\tfor <bob@example.org>; " + noon,
		hop{by: "store.example.org", client: addr("203.0.113.1"), helo: "mx.example.org", protocol: "LMTP", id: "IPcR", to: "bob@example.org", from: "alice@example.net", hasFrom: true, handover: true}},
	{"webmail", "Roundcube, http_received_header",
		"from [198.51.100.7]\n\tby webmail.example.org with HTTP (HTTP/1.1 POST); " + noon,
		hop{by: "webmail.example.org", client: addr("198.51.100.7"), protocol: "HTTP", handover: true}},

	{"words as HELO names", "invented; a client may use these names",
		"from by (for [192.0.2.9]) by mx.example.org (Postfix) with ESMTP id for; " + noon,
		hop{by: "mx.example.org", client: addr("192.0.2.9"), clientName: "for", helo: "by", protocol: "ESMTP", id: "for"}},
	{"no client", "SpamAssassin, Received.pm: PMDF",
		"from mail.example.net by mx.example.org (PMDF V4.3-10 #8779) id <01KT@mx.example.org>; " + noon,
		hop{by: "mx.example.org", helo: "mail.example.net", id: "01KT@mx.example.org"}},
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestParseReceived(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, c := range received {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, ok := parseReceived(" " + c.value)
			if !ok || !got.time.Equal(at) {
				t.Errorf("got %v, time %v", ok, got.time)
			}
			got.time = time.Time{}
			if got != c.want {
				t.Errorf("%s (%s)\ngot  %+v\nwant %+v", c.value, c.source, got, c.want)
			}
		})
	}
}

func TestParseInvalidReceived(t *testing.T) {
	t.Parallel()
	for _, v := range []string{"", ";", "hello", "from x (", "from a (b [192.0.2.9]) (by mx.example.org", "by", "; " + noon} {
		if h, ok := parseReceived(v); ok {
			t.Errorf("%q: got %+v", v, h)
		}
	}
	for _, v := range []string{"by mx.example.org; yesterday", "by mx.example.org", "by mx.example.org; Thu, 21 Nov 2024 25:00:00 +0000"} {
		if h, ok := parseReceived(v); !ok || !h.time.IsZero() {
			t.Errorf("%q: got %+v, %v", v, h, ok)
		}
	}
}

// FuzzReceived tests that every value of the result is in the field, and that an address is neither mapped
// nor has a zone.
func FuzzReceived(f *testing.F) {
	for _, c := range received {
		f.Add(c.value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		h, ok := parseReceived(value)
		if !ok && h.by != "" {
			t.Errorf("not a Received field, but by %q", h.by)
		}
		if h.client.Is4In6() || h.client.Zone() != "" {
			t.Errorf("client %v", h.client)
		}
		for what, s := range map[string]string{"by": h.by, "name": h.clientName, "helo": h.helo, "user": h.user, "id": h.id, "for": h.to, "from": h.from} {
			if !strings.Contains(value, s) {
				t.Errorf("%s %q is not in the field", what, s)
			}
			if what != "user" && strings.ContainsAny(s, " \t\r\n") {
				t.Errorf("%s %q has a space", what, s)
			}
		}
		site := Site{Trusted: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, Hostname: h.by}
		facts := Read([]headers.Field{{Name: "Received", Value: value}}, site)
		if facts.Client.IsValid() && h.handover {
			t.Errorf("a handover by the client %v", facts.Client)
		}
		if facts.Local && facts.Known&Client != 0 && !facts.Client.Is4() {
			t.Errorf("trusted %v", facts.Client)
		}
	})
}
