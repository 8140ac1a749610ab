package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/cmd/milterd/internal/config"
	"milterd/headers"
	"milterd/milter/mirror"
)

// outgoingRequest returns a message that came in, and whether its body is wanted in a configuration.
func outgoingRequest(t *testing.T, cfg *config.Config, trusted bool, rcpt string) (r *checks.Request, wantsBody bool) {
	t.Helper()
	env := checktest.Env(t, "")
	env.Site.LocalDomains, env.Signatures = []string{"example.org"}, 5
	fields := []headers.Field{{Name: "From", Value: " ann@example.org"}, {Name: "Date", Value: " tomorrow"}}
	s := checktest.Session{Client: "192.0.2.9", MailFrom: "ann@example.org", Rcpt: rcpt, Time: time.Now(), Header: checktest.Sign(t, fields, "Hi.\r\n", "example.org")}.Session(t)
	r = checks.NewRequest(s, checks.EndOfHeader)
	if trusted {
		r = checktest.Trusted(t, s)
		r.Stage = checks.EndOfHeader
	}
	body := bodyFor(cfg, env)(r)
	if body != nil {
		_, _ = body.Write([]byte("Hi.\r\n"))
	}
	return r, body != nil
}

// TestBodies tests whose bodies are wanted: those of clients that are checked, and of outgoing mail while the mirror is on.
func TestBodies(t *testing.T) {
	t.Parallel()
	on, off := &config.Config{Mirror: config.Mirror{On: true}}, &config.Config{}
	for _, c := range []struct {
		cfg     *config.Config
		trusted bool
		rcpt    string
		want    bool
	}{
		{on, false, "bob@example.org", true},
		{off, false, "bob@example.org", true},
		{on, true, "bob@gmail.com", true},
		{off, true, "bob@gmail.com", false},
		{on, true, "bob@example.org", false},
	} {
		if _, got := outgoingRequest(t, c.cfg, c.trusted, c.rcpt); got != c.want {
			t.Errorf("mirror %t, trusted %t, to %s: %t", c.cfg.Mirror.On, c.trusted, c.rcpt, got)
		}
	}
}

// TestMirrorReload tests that the mirror counts while it is on, and what the daily report says.
func TestMirrorReload(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, func(c *config.Config) { c.LocalDomains = []string{"example.org"} })
	d.resolver.Close() // no question is answered
	send := func() mirror.Report {
		t.Helper()
		r, _ := outgoingRequest(t, d.cfg, true, "bob@gmail.com")
		d.mirror.Accepted(r)
		report, err := d.reportMirror(t.Context(), noArgs{})
		if err != nil {
			t.Fatal(err)
		}
		return report.Report
	}
	if r := send(); len(r.Domains) != 0 {
		t.Errorf("off: %+v", r)
	}
	if text, err := d.mirrorSentence(t.Context(), time.Now().Add(-time.Hour)); text != "" || err != nil {
		t.Errorf("off: %q, %v", text, err)
	}
	d.cfg.Mirror = config.Mirror{On: true, Bulk: 100}
	d.useMirror(d.cfg)
	if r := send(); len(r.Domains) != 1 || r.Domains[0].Name != "example.org" || !r.Domains[0].Own {
		t.Errorf("on: %+v", r)
	}
	const sentence = "Gmail, Yahoo or Outlook would find fault with mail of example.org (mirror-date, mirror-message-id) (milterd report mirror)."
	if text, err := d.mirrorSentence(t.Context(), time.Now().Add(-time.Hour)); text != sentence || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if text, err := d.mirrorSentence(t.Context(), time.Now().Add(time.Hour)); !strings.Contains(text, "nothing wrong") || err != nil {
		t.Errorf("of later mail: %q, %v", text, err)
	}
	d.useMirror(&config.Config{})
	if r := send(); r.Domains[0].Messages != 1 {
		t.Errorf("off again: %+v", r)
	}
}

// TestMirrorArguments tests what the command mirror refuses.
func TestMirrorArguments(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, nil)
	for _, a := range []mirrorArgs{{Domain: "no domain"}, {Domain: ""}, {Domain: "example.org", Selectors: []string{"a b"}}} {
		if _, err := d.testDomain(t.Context(), a); !errors.As(err, new(*checks.ArgumentError)) {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

// TestMirrorWithoutDNS tests that the answers of receivers are not given as certain where the DNS did not answer.
func TestMirrorWithoutDNS(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, nil)
	d.resolver.Close() // no question is answered
	test, err := d.testDomain(t.Context(), mirrorArgs{Domain: "example.org"})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	showTest(&out, test)
	for _, want := range []string{"Not known: reverse DNS, HELO name, SPF, DKIM, DMARC, MX\n", "\nBy what is known:\nGmail would take it\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
