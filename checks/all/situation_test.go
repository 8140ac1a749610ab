package all_test

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/checktest"
	"milterd/checks/facts"
	"milterd/headers"
)

// situation is a message, and what is found out about it.
type situation struct {
	name    string
	host    string              // the client, one of hosts; or an address
	helo    string              // empty: the name of the host
	from    string              // MAIL FROM
	author  string              // From field
	header  string              // further fields, each with \n
	sign    []string            // domains of signatures
	footer  bool                // the body is changed after signing
	known   known               // to this site, by the evidence
	rcpt    string              // empty: user@example.org
	zone    string              // further records
	asked   *checktest.Recorder // records the questions, if not nil
	slow    string              // domain below which the DNS takes five seconds to answer
	second  string              // another recipient; its reply is in want.second
	results string              // spf, dkim, dmarc
	safe    string              // reply and reasons of spf, dkim, dmarc and author
	strict  string
}

// known are the good senders and the relays that the evidence names.
type known struct{ good, relay string }

func (k known) IsGood(domain string) bool { return domain == k.good || domain == k.relay }
func (k known) Relays(domain string) bool { return domain == k.relay }
func (k known) Unread() error             { return nil }

// The hosts of the situations by name: address and domain of their names. All have PTR records, and all but "elsewhere" and
// "outbound" are in the SPF record of their domain.
var hosts = map[string]struct{ address, domain string }{
	"bank":      {"11.0.1.9", "bank.example"},
	"shop":      {"11.0.2.9", "shop.example"},
	"club":      {"11.0.3.9", "club.example"},
	"free":      {"11.0.4.9", "free.example"},
	"corp":      {"11.0.5.9", "corp.example"},
	"narrow":    {"11.0.6.9", "narrow.example"},
	"provider":  {"11.0.7.9", "provider.example"},
	"forwarder": {"11.0.8.9", "forwarder.example"},
	"list":      {"11.0.9.9", "list.example"},
	"evil":      {"11.0.10.9", "evil.example"},
	"elsewhere": {"11.0.11.9", "elsewhere.example"},
	"idn":       {"11.0.12.9", "xn--bcher-kva.example"},
	"broken":    {"11.0.13.9", "broken.example"},
	"outbound":  {"11.0.14.9", "out.bank.example"},
}

var situationKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

// situationZone returns the DNS of the situations.
func situationZone() string {
	var b strings.Builder
	public := base64.StdEncoding.EncodeToString(situationKey.Public().(ed25519.PublicKey))
	for _, h := range hosts {
		addr := netip.MustParseAddr(h.address).As4()
		fmt.Fprintf(&b, "%d.%d.%d.%d.in-addr.arpa PTR mail.%s\n", addr[3], addr[2], addr[1], addr[0], h.domain)
		fmt.Fprintf(&b, "mail.%s A %s\n%[1]s MX 10 mail.%[1]s\n", h.domain, h.address)
		fmt.Fprintf(&b, "s._domainkey.%s TXT \"v=DKIM1; k=ed25519; p=%s\"\n", h.domain, public)
		if h.domain != "elsewhere.example" && h.domain != "out.bank.example" {
			fmt.Fprintf(&b, "%s TXT \"v=spf1 ip4:%s -all\"\nmail.%[1]s TXT \"v=spf1 a -all\"\n", h.domain, h.address)
		}
	}
	b.WriteString(`
_dmarc.bank.example TXT "v=DMARC1; p=reject; rua=mailto:d@bank.example"
_dmarc.shop.example TXT "v=DMARC1; p=quarantine"
_dmarc.club.example TXT "v=DMARC1; p=none"
_dmarc.corp.example TXT "v=DMARC1; p=reject; sp=none; np=reject"
_dmarc.narrow.example TXT "v=DMARC1; p=reject; aspf=s; adkim=s"
_dmarc.xn--bcher-kva.example TXT "v=DMARC1; p=reject"
!SERVFAIL _dmarc.broken.example
parked.example MX 0 .
parked.example TXT "v=spf1 -all"
_dmarc.parked.example TXT "v=DMARC1; p=reject"
dev.corp.example MX 10 mail.corp.example
news.shop.example MX 10 mail.provider.example
news.shop.example TXT "v=spf1 ip4:11.0.7.9 -all"
sub.narrow.example MX 10 mail.narrow.example
sub.narrow.example TXT "v=spf1 ip4:11.0.6.9 -all"
`)
	return b.String()
}

// play plays the session and returns the results of authentication, and the reply with the reasons.
func (s situation) play(t *testing.T, profile checks.Profile) (results, decision string) {
	t.Helper()
	p := situationPipeline(t, profile, s)
	session := &checks.Session{ID: "test", Time: time.Now()}
	host, ok := hosts[s.host]
	if !ok {
		host.address, host.domain = s.host, "proxy.example"
	}
	session.Client = netip.MustParseAddr(host.address)
	run := p.NewRun(session)
	judge := func(st checks.Stage) checks.Decision { return run.Judge(t.Context(), st) }
	judge(checks.Connect)
	session.SetHelo(cmp.Or(s.helo, "mail."+host.domain), false)
	judge(checks.Helo)
	session.Envelope.MailFrom = checks.ParseAddress(s.from)
	judge(checks.MailFrom)
	rcpt := s.rcpt
	if rcpt == "" {
		rcpt = "user@example.org"
	}
	session.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress(rcpt)}}
	d := judge(checks.RcptTo)
	if s.second != "" {
		session.Envelope.Rcpts = append(session.Envelope.Rcpts, checks.Recipient{Address: checks.ParseAddress("other@example.org")})
		if second := judge(checks.RcptTo); described(second) != s.second {
			t.Errorf("the second recipient: %q, want %q", described(second), s.second)
		}
	}
	fields, body := s.message(t)
	session.Envelope.Header = fields
	if d.Reply == nil {
		judge(checks.EndOfHeader)
	}
	if w := run.BeginBody(); w != nil {
		_, _ = io.WriteString(w, body)
	}
	if d.Reply == nil {
		d = judge(checks.EndOfMessage)
	}
	found := map[string][]string{}
	for _, a := range run.Authenticate(t.Context()) {
		found[a.Method] = append(found[a.Method], a.Result)
	}
	for _, method := range []string{"spf", "dkim", "dmarc"} {
		results += " " + method + "=" + strings.Join(found[method], ",")
	}
	return strings.TrimSpace(results), described(d)
}

// described returns the reply with its reason, and the other reasons of the checks of authentication with their actions, the most
// severe first.
func described(d checks.Decision) string {
	text := "accept"
	if d.Reply != nil {
		text = fmt.Sprintf("%d %s", d.Reply.Code, d.Reason.ID)
	}
	others := slices.DeleteFunc(slices.Clone(d.Outcomes), func(o checks.Outcome) bool {
		return o.Reason == d.Reason || !slices.Contains([]string{"spf", "dkim", "dmarc", "author"}, o.Check)
	})
	slices.SortFunc(others, func(a, b checks.Outcome) int {
		return cmp.Or(cmp.Compare(b.Action, a.Action), strings.Compare(a.Reason.ID, b.Reason.ID))
	})
	for _, o := range others {
		text += " " + o.Action.String() + ":" + o.Reason.ID
	}
	return text
}

// message returns the fields and the body, signed.
func (s situation) message(t *testing.T) ([]headers.Field, string) {
	t.Helper()
	text := s.header + "From: " + s.author + "\nTo: user@example.org\nSubject: hello\nDate: " + time.Now().Format(time.RFC1123Z) +
		"\nMessage-ID: <1@" + strings.ReplaceAll(s.name, " ", "-") + ".example>\n\nHello\n"
	text = strings.ReplaceAll(strings.ReplaceAll(text, ",-", "-"), "\n", "\r\n")
	for _, domain := range slices.Backward(s.sign) {
		var signed bytes.Buffer
		opts := &dkim.SignOptions{Domain: domain, Selector: "s", Signer: situationKey, HeaderKeys: []string{"From", "To", "Subject", "Date"}}
		if err := dkim.Sign(&signed, strings.NewReader(text), opts); err != nil {
			t.Fatal(err)
		}
		text = signed.String()
	}
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	if s.footer {
		body += "-- \r\nTalk mailing list\r\n"
	}
	var fields []headers.Field
	for line := range strings.SplitSeq(head, "\r\n") {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			fields[len(fields)-1].Value += "\n" + line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		fields = append(fields, headers.Field{Name: name, Value: value})
	}
	return fields, body
}

// situationPipeline returns a pipeline of all checks with their default settings.
func situationPipeline(t *testing.T, profile checks.Profile, s situation) *checks.Pipeline {
	t.Helper()
	env := checktest.Env(t, situationZone()+s.zone)
	if s.asked != nil {
		s.asked.Resolver = env.DNS
		env.DNS = s.asked
	}
	var announce checks.Announcer
	if s.slow != "" {
		slow := &slowly{Resolver: env.DNS, below: s.slow, asked: map[checks.Question]time.Time{}}
		env.DNS, announce = slow, slow
	}
	env.Store = checktest.NewStore(time.Now)
	env.Signatures, env.Senders = 5, s.known
	opts := checks.Options{
		Actions: map[string]checks.Action{}, ReplyAt: checks.RcptTo, Budget: 8 * time.Second, Store: env.Store, Announce: announce,
		Body: func(r *checks.Request) io.Writer { return facts.Body(env, r) },
	}
	var instances []checks.Instance
	for _, info := range all.Checks {
		c, err := info.New(func(any) error { return nil }, env)
		if err != nil {
			t.Fatal(err)
		}
		instances = append(instances, checks.Instance{Info: info, Check: c})
		for _, r := range info.Reasons {
			opts.Actions[r.ID] = profile.Action(r)
		}
	}
	for _, id := range []string{"first-contact", "callout-rejected", "callout-unreachable", "callout-pending"} {
		opts.Actions[id] = checks.Off // they are not about authentication
	}
	forwarded, err := checks.ParseRecipients([]string{"@forwarded.example.org"})
	exempt, errOther := checks.ParseRecipients([]string{"postmaster"})
	if err != nil || errOther != nil {
		t.Fatal(err, errOther)
	}
	opts.Exempt, opts.Policies = exempt, []checks.Policy{{
		Recipients: forwarded, Actions: opts.Actions,
		Forwarders: checks.Forwarders{Networks: []netip.Prefix{netip.MustParsePrefix(hosts["forwarder"].address + "/32")}},
	}}
	p, err := checks.New(instances, opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
