package dkim

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"milterd/checks/checktest"
	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/headers"
	"milterd/milter/miltertest"
	"milterd/milter/mirror"
)

// mirrorZone has a domain in order, example.net, whose mail server mx.test sends from 11.22.33.45; and wrong.test, which has a fault
// wherever the DNS can have one. Nothing is right about the address 11.66.66.66.
const mirrorZone = daemontest.World + `
45.33.22.11.in-addr.arpa.   PTR   mx.test.
example.net.                MX    10 mx.sender.test.
example.net.                TXT   "v=spf1 ip4:11.22.33.45 -all"
_dmarc.example.net.         TXT   "v=DMARC1; p=none"
wrong.test.                 TXT   "v=spf1 ip4:11.1.1.1 -all"
`

// TestMirror sends mail of a wrong and of a right domain through a real Postfix, the right one signed by a real OpenDKIM before milterd.
// All faults of the first are found, and none in the second. Nothing is refused.
func TestMirror(t *testing.T) {
	miltertest.Require(t)
	key := keyRecord(t)
	site := miltertest.NewSite(t, mirrorZone+fmt.Sprintf("rsa._domainkey.example.net. TXT %q %q\n", key[:200], key[200:]))
	m := site.Postfix(t, "mynetworks = 11.9.9.9", "smtpd_relay_restrictions = permit_mynetworks, reject", "default_transport = discard:",
		"smtpd_milters = "+startSigner(t)+", unix:"+filepath.Join(site.Dir, "postfix.sock"))
	start := func(address string) (*daemontest.Daemon, string) {
		socket := filepath.Join(daemontest.SocketDir(t), "admin.sock")
		return daemontest.StartInSite(t, site, daemontest.Config{DNS: site.DNS.Addr, Domain: "mx.test", Profile: "strict", Extra: fmt.Sprintf(
			"admin: {listen: \"\", socket: %q}\nmirror: {bulk: 3, addresses: [%s]}\n", socket, address)}, m), socket
	}

	d, socket := start("11.66.66.66")
	sendWrong(t, m)
	report := reportOn(t, socket, "wrong.test")
	want := []string{
		"mirror-rdns", "mirror-helo", "mirror-auth-none", "mirror-spf-fail", "mirror-dkim-none", "mirror-dkim-fail", "mirror-dmarc-none", "mirror-dmarc-fail",
		"mirror-from-domain", "mirror-from", "mirror-date", "mirror-message-id", "mirror-tls", "mirror-unsubscribe",
	}
	if got := idsOf(report); !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
	if out := daemontest.Command(t, "mirror", "wrong.test", "--socket", socket); out.Code != 1 || !strings.Contains(out.Stdout, `wrong.test. IN TXT "v=spf1 ip4:11.66.66.66 ip4:11.1.1.1 -all"`) {
		t.Errorf("exit status %d: %s%s", out.Code, out.Stdout, out.Stderr)
	}
	text := d.MustRun(t, "report", "mirror")
	for _, id := range want {
		if !strings.Contains(text, "\n"+id+": ") {
			t.Errorf("report mirror does not have %s:\n%s", id, text)
		}
	}
	if out := d.MustRun(t, "report", "daily"); !strings.Contains(out, "would find fault with mail of wrong.test (mirror-rdns, ") {
		t.Errorf("the daily report: %s", out)
	}
	d.Stop(t)

	d, socket = start("11.22.33.45")
	for _, rcpts := range [][]string{{"bob@gmail.com"}, {"a@gmail.com", "b@yahoo.com", "c@outlook.com", "d@example.com"}} {
		sendRight(t, m, site, rcpts...)
	}
	report = reportOn(t, socket, "example.net")
	if got := idsOf(report); len(got) != 0 || report.Messages != 2 || report.Unsigned != 0 || !slices.Equal(report.Selectors, []string{"rsa"}) {
		t.Errorf("found %+v", report)
	}
	if out := d.MustRun(t, "mirror", "example.net"); !strings.Contains(out, "In order: reverse DNS, HELO name, SPF, DKIM, DMARC, MX\n") {
		t.Errorf("milterd mirror: %s", out) // with the selector of the mail
	}
	d.Stop(t)
	for _, line := range d.Lines() {
		if strings.Contains(line, "msg=reject") || strings.Contains(line, "msg=tempfail") {
			t.Errorf("log: %s", line)
		}
	}
}

// startSigner starts OpenDKIM with the fields that bulk mail must have signed. It returns its socket as Postfix spells it.
func startSigner(t *testing.T) string {
	t.Helper()
	socket := startFilter(t, "opendkim", fmt.Sprintf("Mode s\nDomain example.net\nSelector rsa\nKeyFile %s\nCanonicalization relaxed/relaxed\n"+
		"InternalHosts 0.0.0.0/0\nRequireSafeKeys no\nUMask 000\nSignHeaders *,+List-Unsubscribe-Post\n", keyFile(t)))
	for _, dir := range []string{filepath.Dir(socket), filepath.Dir(filepath.Dir(socket))} { // those of t.TempDir
		if err := os.Chmod(dir, 0o755); err != nil { // Postfix runs as another user
			t.Fatal(err)
		}
	}
	return "unix:" + socket
}

// sendWrong sends messages with all faults that a message can have.
func sendWrong(t *testing.T, m *miltertest.MTA) {
	t.Helper()
	c := miltertest.DialSMTP(t, m.Addr, "127.0.0.1")
	c.Must("2", "XCLIENT ADDR=11.9.9.9 LOGIN=ann")
	c.Must("2", "EHLO laptop.test")
	daemontest.Envelope(c, "ann@wrong.test", "bob@gmail.com")
	const body = "Hi.\r\n"
	var msg strings.Builder
	for _, f := range checktest.Sign(t, []headers.Field{{Name: "From", Value: " ann@wrong.test"}, {Name: "Date", Value: " Sat, 21 Nov 2026 12:00:00 +0000"}, {Name: "Message-ID", Value: " <1@wrong.test>"}}, body, "wrong.test") {
		msg.WriteString(f.Name + ":" + f.Value + "\r\n")
	}
	daemontest.SendMessage(t, c, msg.String()+"\r\n"+body)
	daemontest.Envelope(c, "ann@wrong.test", "a@gmail.com", "b@yahoo.com", "c@outlook.com", "d@example.com")
	// There is no Date: Postfix adds it only for local clients.
	daemontest.SendMessage(t, c, "From: ann@wrong.test, bob@wrong.test\r\nSubject: Offers!\r\nMessage-ID: none\r\n\r\nBuy.\r\n")
}

// sendRight sends a message that has all that receivers want.
func sendRight(t *testing.T, m *miltertest.MTA, site *miltertest.Site, rcpts ...string) {
	t.Helper()
	c := miltertest.DialSMTP(t, m.Addr, "127.0.0.1")
	c.Must("2", "EHLO laptop.test")
	c.StartTLS(site.Certificate)
	c.Must("2", "EHLO laptop.test")
	c.Must("2", "XCLIENT ADDR=11.9.9.9 LOGIN=ann")
	c.Must("2", "EHLO laptop.test")
	daemontest.Envelope(c, "ann@example.net", rcpts...)
	daemontest.SendMessage(t, c, daemontest.Message(daemontest.GoodHeader(daemontest.Field{"From", "Ann <ann@example.net>"},
		daemontest.Field{"List-Unsubscribe", "<https://example.net/leave?42>"}, daemontest.Field{"List-Unsubscribe-Post", "List-Unsubscribe=One-Click"})))
}

// reportOn returns what the report says of a domain, from its JSON.
func reportOn(t *testing.T, socket, domain string) mirror.Subject {
	t.Helper()
	out := daemontest.Command(t, "report", "mirror", "--json", "--socket", socket)
	var r mirror.Report
	if err := json.Unmarshal([]byte(out.Stdout), &r); err != nil || r.Lost != 0 {
		t.Fatalf("%v: %s%s", err, out.Stdout, out.Stderr)
	}
	for _, s := range r.Domains {
		if s.Name == domain {
			return s
		}
	}
	t.Fatalf("nothing of %s in %s", domain, out.Stdout)
	return mirror.Subject{}
}

func idsOf(s mirror.Subject) (ids []string) {
	for _, f := range s.Faults {
		ids = append(ids, f.Finding)
	}
	return ids
}
