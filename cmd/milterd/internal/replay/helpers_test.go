package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/checktest"
	"milterd/checks/facts"
	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/received"
)

// configOf returns the configuration of a file with this text.
func configOf(t testing.TB, name, text string) Config {
	t.Helper()
	for _, key := range []string{"local_domains: [example.org]\n", "hostname: mx.example.org\n"} {
		if name, _, _ := strings.Cut(key, " "); !strings.Contains(text, name) {
			text = key + text
		}
	}
	cfg, problems := config.Parse(name, []byte(text), all.Checks)
	if cfg == nil {
		t.Fatal(problems)
	}
	return Config{
		Name: name, Text: []byte(text),
		Site: received.Site{Hostname: cfg.Hostname, Domains: cfg.LocalDomains, Trusted: cfg.Policy.Trusted.Networks},
		Build: func(env checks.Env) ([]checks.Instance, checks.Options, error) {
			env.Site, env.Signatures = checks.Site{Hostname: cfg.Hostname, LocalDomains: cfg.LocalDomains}, 5
			instances, err := cfg.Build(env)
			opts := cfg.Policy
			opts.Store = env.Store
			opts.Body = func(r *checks.Request) io.Writer { return facts.Body(env, r) }
			return instances, opts, err
		},
	}
}

// noon is when a letter with a zero at was received.
var noon = time.Date(2024, 11, 21, 12, 0, 0, 0, time.UTC)

// letter is a message of a test. No reason applies to the zero value, with the DNS of zoneText.
type letter struct {
	id, helo, from, to, date string
	at                       time.Duration // after noon, when it was received
	no                       string        // names of fields that it does not have
	relay                    time.Duration // how long a relay between the client and the border host had it; 0 without a relay
}

// trustsRelay is a configuration that trusts the relay, which is the border host then.
const trustsRelay = "trusted: {networks: [127.0.0.0/8, 198.51.100.7/32]}\n"

func (l letter) String() string {
	or := func(s, otherwise string) string {
		if s == "" {
			return otherwise
		}
		return s
	}
	came := noon.Add(l.at).Format(time.RFC1123Z)
	received := func(helo, client, by string, at time.Duration) string {
		return "Received: from " + helo + " (" + client + ")\n\tby " + by + " (Postfix) with ESMTP id 4X\n\tfor <" + or(l.to, "bob@example.org") + ">; " + noon.Add(at).Format(time.RFC1123Z)
	}
	way := received(or(l.helo, "mail.example.com"), "mail.example.com [192.0.2.9]", "mx.example.org", l.at)
	if l.relay > 0 {
		way = received("relay.example.net", "relay.example.net [198.51.100.7]", "mx.example.org", l.at) + "\n" +
			received(or(l.helo, "mail.example.com"), "mail.example.com [192.0.2.9]", "relay.example.net", l.at-l.relay)
	}
	lines := []string{
		"Return-Path: <" + or(l.from, "alice@example.net") + ">",
		way,
		"Date: " + or(l.date, came),
		"Message-ID: " + or(l.id, "<1@example.net>"),
		"From: Alice <alice@example.net>",
	}
	var b strings.Builder
	for _, line := range lines {
		if name, _, _ := strings.Cut(line, ":"); !strings.Contains(l.no, name) {
			b.WriteString(line + "\n")
		}
	}
	return b.String() + "\nHello.\n"
}

// zoneText is a DNS in which mail.example.com may send for example.net. It has another domain, because a host of
// the sender's domain is not greylisted.
const zoneText = `
example.net. MX 10 mx.example.net.
example.net. TXT "v=spf1 a:mail.example.com -all"
mail.example.com. A 192.0.2.9
mx.example.net. A 9.9.9.9
9.2.0.192.in-addr.arpa. PTR mail.example.com.
`

func dnsOf(t testing.TB, text string) checks.Resolver {
	t.Helper()
	z, err := checktest.ParseZone(text)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// mbox writes letters into an mbox file.
func mbox(t testing.TB, letters ...letter) string {
	t.Helper()
	var b strings.Builder
	for _, l := range letters {
		b.WriteString("From x " + noon.Add(l.at).Format(time.ANSIC) + "\n" + l.String() + "\n")
	}
	return file(t, "inbox", b.String())
}

func file(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// replayed runs a replay, with the DNS of zoneText unless the options have another one.
func replayed(t testing.TB, opts Options) *Report {
	t.Helper()
	if opts.DNS == nil {
		opts.DNS = dnsOf(t, zoneText)
	}
	if opts.Now.IsZero() {
		opts.Now = noon
	}
	r, err := Run(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// asJSON is the report as JSON.
type asJSON struct {
	Messages, Judged, Unreadable, Refused, Held, Quarantined, Trusted, Changed int
	Reasons                                                                    map[string]struct {
		Action   string
		Count    int
		Actions  map[string]int
		Messages []struct {
			File      string
			MessageID string `json:"message_id"`
			Session   string
		}
	}
	NotJudged   map[string]map[string]int `json:"not_judged"`
	Interrupted bool
	Changes     []struct {
		From, To string
		Because  []string
		Count    int
		Messages []struct {
			File      string
			MessageID string `json:"message_id"`
			Session   string
		}
	}
}

func jsonOf(t testing.TB, r *Report) asJSON {
	t.Helper()
	var b bytes.Buffer
	if err := r.JSON(&b); err != nil {
		t.Fatal(err)
	}
	var j asJSON
	dec := json.NewDecoder(&b)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&j); err != nil {
		t.Fatalf("%v: %s", err, b.Bytes())
	}
	return j
}

// line returns the counts of a report on one line.
func (j asJSON) line() string {
	out := fmt.Sprintf("%d messages, %d judged, %d unreadable, %d refused", j.Messages, j.Judged, j.Unreadable, j.Refused)
	if j.Held > 0 {
		out += fmt.Sprintf(", %d held", j.Held)
	}
	if j.Quarantined > 0 {
		out += fmt.Sprintf(", %d quarantined", j.Quarantined)
	}
	out += ":"
	for _, r := range all.Checks {
		for _, reason := range r.Reasons {
			if s, ok := j.Reasons[reason.ID]; ok {
				out += fmt.Sprintf(" %s %s %d", reason.ID, s.Action, s.Count)
			}
		}
	}
	return out
}

func textOf(t testing.TB, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
