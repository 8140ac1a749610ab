package outgoing

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/facts"
	"milterd/headers"
	"milterd/milter/mirror"
)

const ourAddress = "11.22.33.44"

// rightZone is the DNS of a site that does all that the receivers ask for.
var rightZone = `
mx.example.org.            A   11.22.33.44
44.33.22.11.in-addr.arpa.  PTR mx.example.org.
example.org.               MX  10 mx.example.org.
example.org.               TXT "v=spf1 ip4:11.22.33.44 -all"
_dmarc.example.org.        TXT "v=DMARC1; p=none"
` + checktest.DKIMKey("example.org")

// mail describes an outgoing message.
type mail struct {
	mailFrom string // address; empty: ann@example.org
	header   []headers.Field
	signer   string // domain; empty: unsigned
	changed  bool   // the body was changed after signing
	rcpts    []string
	user     string
	client   string
	tls      bool
	sendmail bool
}

var goodHeader = []headers.Field{
	{Name: "From", Value: " Ann <ann@example.org>"}, {Name: "Date", Value: " Sat, 21 Nov 2026 12:00:00 +0000"}, {Name: "Message-ID", Value: " <1@example.org>"},
}

// with returns the header of a good message with changes. An empty value removes the field.
func with(changes ...headers.Field) []headers.Field {
	list := slices.Clone(goodHeader)
	for _, c := range changes {
		list = slices.DeleteFunc(list, func(f headers.Field) bool { return f.Is(c.Name) })
		if c.Value != "" {
			list = append(list, c)
		}
	}
	return list
}

func site(t testing.TB, zone string) Site {
	t.Helper()
	env := checktest.Env(t, zone)
	env.Signatures = 5
	env.Site.Addresses = nil
	return Site{Env: env, Bulk: 3, Addresses: []netip.Addr{netip.MustParseAddr(ourAddress)}}
}

// message returns what the mirror receives of a message.
func (m mail) message(t testing.TB, s Site) *mirror.Message {
	t.Helper()
	d := checktest.Session{Client: m.client, MailFrom: m.mailFrom, Auth: m.user, Header: m.header}
	if d.Header == nil {
		d.Header = goodHeader
	}
	if m.signer != "" {
		d.Header = checktest.Sign(t, d.Header, "Hi.\r\n", m.signer)
	}
	if d.MailFrom == "" {
		d.MailFrom = "ann@example.org"
	}
	session := d.Session(t)
	session.Macros = map[string]string{"j": "mx.example.org", "{client_addr}": m.client, "v": "Postfix 3.9.1"}
	if m.tls {
		session.Macros["{tls_version}"] = "TLSv1.3"
	}
	if m.sendmail {
		session.Macros["v"] = "8.17.1.9"
	}
	session.Envelope.Rcpts = nil
	for _, rcpt := range m.rcpts {
		session.Envelope.Rcpts = append(session.Envelope.Rcpts, checks.Recipient{Address: checks.ParseAddress(rcpt)})
	}
	r := checktest.Trusted(t, session)
	r.Stage = checks.EndOfHeader
	if body := facts.Body(s.Env, r); body != nil {
		text := "Hi.\r\n"
		if m.changed {
			text = "Hello.\r\n"
		}
		_, _ = body.Write([]byte(text))
	}
	return s.Message(r)
}

// found returns the ids of the findings about a message.
func found(t testing.TB, s Site, m mail) (ids []string) {
	t.Helper()
	if m.rcpts == nil {
		m.rcpts = []string{"bob@gmail.com"}
	}
	out := m.message(t, s)
	if out == nil {
		t.Fatal("the message does not leave the site")
	}
	for _, h := range out.Judge(t.Context()).Hits {
		if h.Seen == "" {
			t.Errorf("%s does not say what was seen", h.ID)
		}
		ids = append(ids, strings.TrimPrefix(h.ID, "mirror-"))
	}
	slices.Sort(ids)
	return ids
}

var many = []string{"a@gmail.com", "b@yahoo.com", "c@outlook.com", "d@example.net"}

// TestMessages tests right messages, and one fault after the other.
func TestMessages(t *testing.T) {
	t.Parallel()
	without := func(part string) string {
		var kept []string
		for line := range strings.Lines(rightZone) {
			if !strings.HasPrefix(line, part) {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "")
	}
	right := mail{signer: "example.org"}
	for _, c := range []struct {
		name string
		zone string
		mail mail
		want []string
	}{
		{"right", rightZone, right, nil},
		{"right, signed later", rightZone, mail{}, nil},
		{"right, in a subdomain", rightZone + "news.example.org. MX 10 mx.example.org.\nnews.example.org. TXT \"v=spf1 ip4:11.22.33.44 -all\"\n",
			mail{header: with(headers.Field{Name: "From", Value: " ann@news.example.org"}), mailFrom: "b@news.example.org", signer: "example.org"}, nil},
		{"right, submitted over TLS", rightZone, mail{signer: "example.org", user: "ann", client: "11.9.9.9", tls: true}, nil},
		{"right, submitted in the own network", rightZone, mail{signer: "example.org", user: "ann", client: "10.0.0.9"}, nil},
		{"right, to several", rightZone, mail{signer: "example.org", rcpts: many[:3]}, nil},
		{"a bounce", rightZone, mail{signer: "example.org", mailFrom: "<>"}, nil},
		{"no PTR", without("44.33"), right, []string{"rdns"}},
		{"another PTR", without("44.33") + "44.33.22.11.in-addr.arpa. PTR host.isp.example.\n", right, []string{"rdns"}},
		{"HELO name elsewhere", without("mx.example.org.") + "mx.example.org. A 11.1.1.1\n", right, []string{"helo", "rdns"}},
		{"inner view of the DNS", strings.Replace(rightZone, "A   11.22.33.44", "A   10.0.0.5", 1), right, nil},
		{"sent through a relay", without("44.33") + "44.33.22.11.in-addr.arpa. PTR out.isp.example.\nout.isp.example. A 11.22.33.44\nmx.example.org. A 11.1.1.1\n", right, nil},
		{"no SPF", without("example.org.               TXT"), right, []string{"spf-none"}},
		{"SPF of another address", strings.Replace(rightZone, "ip4:11.22.33.44", "ip4:11.1.1.1", 1), right, []string{"spf-fail"}},
		{"SPF with an error", strings.Replace(rightZone, "ip4:11.22.33.44", "nonsense:x", 1), right, []string{"spf-fail"}},
		{"no key, no signature", without("test._domainkey"), mail{}, []string{"dkim-none"}},
		{"no key, but a signature", without("test._domainkey"), right, []string{"dkim-fail"}},
		{"changed after signing", rightZone, mail{signer: "example.org", changed: true}, []string{"dkim-fail"}},
		{"signed by another", rightZone + checktest.DKIMKey("esp.example"), mail{signer: "esp.example"}, []string{"dkim-unaligned"}},
		{"signed by another and by us", rightZone + checktest.DKIMKey("esp.example"), mail{signer: "esp.example", header: checktest.Sign(t, goodHeader, "Hi.\r\n", "example.org")}, nil},
		{"broken signature of another, signed later", rightZone, mail{signer: "list.example", mailFrom: "list@nospf.example"}, []string{"spf-none"}},
		{"broken signature of another, no key", without("test._domainkey"), mail{signer: "list.example"}, []string{"dkim-fail"}},
		{"no author", rightZone, mail{mailFrom: "<>", header: with(headers.Field{Name: "From", Value: " MAILER-DAEMON <>"})}, []string{"from"}},
		{"nothing passes", without("test._domainkey") + "other.example. TXT \"v=spf1 -all\"\n", mail{mailFrom: "a@other.example"}, []string{"auth-none", "dkim-none", "dmarc-fail", "spf-fail"}},
		{"nothing aligned", rightZone + checktest.DKIMKey("esp.example") + "esp.example. TXT \"v=spf1 ip4:11.22.33.44 -all\"\n",
			mail{signer: "esp.example", mailFrom: "b@esp.example"}, []string{"dkim-unaligned", "dmarc-fail"}},
		{"no DMARC record", without("_dmarc"), right, []string{"dmarc-none"}},
		{"no DMARC record, nothing aligned", without("_dmarc") + checktest.DKIMKey("esp.example") + "esp.example. TXT \"v=spf1 ip4:11.22.33.44 -all\"\n",
			mail{signer: "esp.example", mailFrom: "b@esp.example"}, []string{"dkim-unaligned", "dmarc-fail", "dmarc-none"}},
		{"null MX", strings.Replace(rightZone, "10 mx.example.org.", "0 .", 1), right, []string{"from-domain"}},
		{"two authors", rightZone, mail{signer: "example.org", header: with(headers.Field{Name: "From", Value: " ann@example.org, bob@example.org"})}, []string{"from"}},
		{"no Date", rightZone, mail{signer: "example.org", header: with(headers.Field{Name: "Date"})}, []string{"date"}},
		{"a Date of another form", rightZone, mail{signer: "example.org", header: with(headers.Field{Name: "Date", Value: " 2026-11-21"})}, []string{"date"}},
		{"no Message-ID", rightZone, mail{signer: "example.org", header: with(headers.Field{Name: "Message-ID"})}, []string{"message-id"}},
		{"no Date, Message-ID and From, which Sendmail adds", rightZone, mail{sendmail: true, header: []headers.Field{{Name: "Subject", Value: " Hi"}}}, nil},
		{"a wrong Date, which Sendmail keeps", rightZone, mail{signer: "example.org", sendmail: true, header: with(headers.Field{Name: "Date", Value: " tomorrow"})}, []string{"date"}},
		{"submitted without TLS", rightZone, mail{signer: "example.org", user: "ann", client: "11.9.9.9"}, []string{"tls"}},
		{"bulk without unsubscribe", rightZone, mail{signer: "example.org", rcpts: many}, []string{"unsubscribe"}},
		{"bulk with a mailto link", rightZone, mail{rcpts: many, header: with(headers.Field{Name: "List-Unsubscribe", Value: " <mailto:x@example.org>"})}, []string{"unsubscribe"}},
		{"bulk, unsubscribe not signed", rightZone, mail{signer: "example.org", rcpts: many, header: oneClick}, []string{"unsubscribe"}},
		{"right bulk, signed later", rightZone, mail{rcpts: many, header: oneClick}, nil},
		{"DNS down", "!TIMEOUT 44.33.22.11.in-addr.arpa\n!TIMEOUT mx.example.org\n!TIMEOUT example.org\n!TIMEOUT _dmarc.example.org\n!TIMEOUT test._domainkey.example.org\n!TIMEOUT _domainkey.example.org\n", right, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := found(t, site(t, c.zone), c.mail); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

var oneClick = with(headers.Field{Name: "List-Unsubscribe", Value: " <mailto:x@example.org>,\r\n\t<https://example.org/u?1>"}, headers.Field{Name: "List-Unsubscribe-Post", Value: " List-Unsubscribe=One-Click"})

// TestRepairs tests the records that repair the reverse DNS: an address for a name of ours, and our name for an address that has another.
func TestRepairs(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"mail.example.org": "mail.example.org. IN A 11.22.33.44",
		"host.isp.example": "44.33.22.11.in-addr.arpa. IN PTR mx.example.org.",
	} {
		zone := strings.Replace(rightZone, "PTR mx.example.org.", "PTR "+name+".", 1)
		hits := mail{signer: "example.org", rcpts: many[:1]}.message(t, site(t, zone)).Judge(t.Context()).Hits
		if len(hits) != 1 || hits[0].Finding != mirror.RDNS || !slices.Equal(hits[0].Repair, []string{want}) {
			t.Errorf("%s: %+v", name, hits)
		}
	}
}

// TestLongSPFRecord tests that a proposed SPF record is one string of at most 255 bytes, RFC 1035 section 3.3, and that none is proposed
// for a longer record.
func TestLongSPFRecord(t *testing.T) {
	t.Parallel()
	for length, proposes := range map[int]bool{maxRecord: true, maxRecord + 1: false} {
		record := "v=spf1 include:" + strings.Repeat("a", length-len("v=spf1 include:.example -all")) + ".example -all"
		m := &message{Site: site(t, "example.org. TXT \""+record+"\"\n")}
		if got := m.spfRecordOf(t.Context(), "example.org"); (got == record) != proposes {
			t.Errorf("%d bytes: got %q", length, got)
		}
		_, text, _ := strings.Cut(spfRecord("example.org", record, netip.MustParseAddr("2001:db8:1111:2222:3333:4444:5555:6666")), `"`)
		if proposes && len(strings.TrimSuffix(text, `"`)) > 255 {
			t.Errorf("%d bytes: proposes %q", length, text)
		}
	}
}

// TestWhoSends tests what is counted of a message, and that mail of the site to itself is not outgoing.
func TestWhoSends(t *testing.T) {
	t.Parallel()
	s := site(t, rightZone)
	m := mail{client: "10.0.0.9", rcpts: append([]string{"x@example.org", "y@hotmail.com"}, many...)}
	out := m.message(t, s)
	if out.Domain != "example.org" || !out.Own || out.User != "10.0.0.9" || !maps.Equal(out.To, map[string]int{"Gmail": 1, "Yahoo": 1, "Outlook": 2}) {
		t.Errorf("%+v", out)
	}
	m.user = "Ann@example.org"
	if out := m.message(t, s); out.User != "ann@example.org" {
		t.Errorf("user %q", out.User)
	}
	m.rcpts = []string{"x@example.org"}
	if out := m.message(t, s); out != nil {
		t.Errorf("mail to the own domain: %+v", out)
	}
}

// TestHost tests which addresses stand for the mail server.
func TestHost(t *testing.T) {
	t.Parallel()
	addrs := func(texts ...string) (list []netip.Addr) {
		for _, text := range texts {
			list = append(list, netip.MustParseAddr(text))
		}
		return list
	}
	for _, c := range []struct {
		name                  string
		configured, own, want []netip.Addr
		zone                  string
	}{
		{"configured", addrs("11.1.1.1"), addrs("11.2.2.2"), addrs("11.1.1.1"), "mx.example.org. A 11.2.2.2"},
		{"one of several", nil, addrs("10.0.0.1", "11.2.2.2", "11.3.3.3"), addrs("11.2.2.2"), "mx.example.org. A 11.2.2.2"},
		{"name elsewhere", nil, addrs("11.2.2.2"), addrs("11.2.2.2"), "mx.example.org. A 11.9.9.9"},
		{"NAT", nil, addrs("10.0.0.1"), addrs("11.9.9.9", "2a00::1"), "mx.example.org. A 11.9.9.9\nmx.example.org. AAAA 2a00::1"},
		{"NAT for IPv4 alone", nil, addrs("10.0.0.1", "2a00::1"), addrs("11.9.9.9"), "mx.example.org. A 11.9.9.9"},
		{"unknown", nil, addrs("10.0.0.1"), nil, "mx.example.org. A 10.0.0.1"},
		{"DNS down, several", nil, addrs("11.2.2.2", "2a00::1"), nil, "!TIMEOUT mx.example.org"},
		{"DNS down for a family", nil, addrs("11.2.2.2", "2a00::1"), nil, "!TIMEOUT mx.example.org A"},
		{"DNS down, one right", nil, addrs("11.2.2.2", "2a00::1"), addrs("11.2.2.2"), "mx.example.org. A 11.2.2.2\n!TIMEOUT mx.example.org AAAA"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := site(t, c.zone)
			s.Addresses, s.Env.Site.Addresses = c.configured, c.own
			if h := s.host(context.Background(), "MX.example.org"); !slices.Equal(h.Addresses, c.want) || h.Name != "mx.example.org" {
				t.Errorf("got %+v, want %v", h, c.want)
			}
		})
	}
}

// TestDomain tests the test of a domain.
func TestDomain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, zone    string
		selectors     []string
		faults        []string
		unknown, note string
		gmail         mirror.Answer
	}{
		{"right", rightZone, []string{"test"}, nil, "", "", mirror.Takes},
		{"no selector", rightZone, nil, nil, "DKIM", "--selector", mirror.Takes},
		{"no such selector", rightZone, []string{"other"}, []string{"mirror-dkim-fail"}, "", "", mirror.RefusesBulk},
		{"nothing", "mx.example.org. A 11.22.33.44\n", nil,
			[]string{"mirror-rdns", "mirror-auth-none", "mirror-spf-none", "mirror-dkim-none", "mirror-dmarc-none", "mirror-dmarc-fail", "mirror-from-domain"}, "", "", mirror.Refuses},
		{"DNS down", rightZone + "!TIMEOUT example.org TXT\n", []string{"test"}, nil, "SPF DMARC", "", mirror.Takes},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := site(t, c.zone).Test(t.Context(), "example.org", c.selectors, checktest.Now)
			var ids []string
			for _, f := range got.Faults {
				ids = append(ids, f.Finding)
			}
			if !slices.Equal(ids, c.faults) || strings.Join(got.Unknown, " ") != c.unknown || !strings.Contains(strings.Join(got.Notes, " "), c.note) || got.Verdicts[0].Answer != c.gmail {
				t.Errorf("got %+v", got)
			}
			if len(got.OK)+len(got.Unknown) > len(aspects) || len(c.faults) == 0 && len(got.OK)+len(got.Unknown) != len(aspects) {
				t.Errorf("ok %v, unknown %v", got.OK, got.Unknown)
			}
		})
	}
}

// BenchmarkSession measures what the session of an outgoing message spends on the mirror.
func BenchmarkSession(b *testing.B) {
	s := site(b, rightZone)
	m := mail{rcpts: []string{"bob@gmail.com"}, header: checktest.Sign(b, goodHeader, "Hi.\r\n", "example.org")}
	d := checktest.Session{Client: "10.0.0.9", MailFrom: "ann@example.org", Header: m.header}.Session(b)
	d.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("bob@gmail.com")}}
	r := checktest.Trusted(b, d)
	r.Stage = checks.EndOfHeader
	b.ReportAllocs()
	for b.Loop() {
		if s.Message(r) == nil {
			b.Fatal("no message")
		}
	}
}

// BenchmarkJudge measures what the background spends on an outgoing message, with all answers at hand.
func BenchmarkJudge(b *testing.B) {
	s := site(b, rightZone)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		m := mail{rcpts: []string{"bob@gmail.com"}, signer: "example.org"}.message(b, s)
		b.StartTimer()
		m.Judge(b.Context())
	}
}
