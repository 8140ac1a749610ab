package replay

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/cmd/milterd/internal/mailbox"
	"milterd/cmd/milterd/internal/received"
)

var changed = &checks.Reason{ID: "body-changed", Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "changed: {body}"}}

// bodyCheck is a check that refuses signed messages with the body "changed", if their key is in the DNS.
type bodyCheck struct {
	env  checks.Env
	seen *[]string // bodies and times
	body *strings.Builder
}

func (c *bodyCheck) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	if c.body == nil {
		return nil, nil
	}
	*c.seen = append(*c.seen, fmt.Sprintf("%s %q", r.Time.Format(time.DateOnly), c.body.String()))
	a, err := c.env.DNS.Lookup(ctx, checks.Ask("sel._domainkey.example.net", dns.TypeTXT))
	if strings.HasPrefix(c.body.String(), "changed") {
		v := checks.Verdict{Reason: changed, Detail: map[string]string{"body": c.body.String()}, Unsure: err != nil}
		return []checks.Verdict{v}, err
	}
	if err == nil && len(a.Records) == 0 {
		err = fmt.Errorf("no key, and no error")
	}
	return nil, err
}

func (c *bodyCheck) begin(r *checks.Request) io.Writer {
	c.body = nil
	for _, f := range r.Envelope.Header {
		if f.Is("DKIM-Signature") {
			c.body = new(strings.Builder)
			return c.body
		}
	}
	return nil
}

// bodyConfig returns a configuration with a bodyCheck alone.
func bodyConfig(seen *[]string, onError checks.Action) Config {
	return Config{
		Site: received.Site{Hostname: "mx.example.org", Domains: []string{"example.org"}},
		Build: func(env checks.Env) ([]checks.Instance, checks.Options, error) {
			c := &bodyCheck{env: env, seen: seen}
			info := checks.Info{Name: "body", Stages: []checks.Stage{checks.EndOfMessage}, Reasons: []*checks.Reason{changed}, Body: true}
			return []checks.Instance{{Info: info, Check: c}}, checks.Options{
				Actions: map[string]checks.Action{changed.ID: checks.Reject}, ReplyAt: checks.RcptTo, Budget: time.Second, OnError: onError,
				Body: c.begin,
			}, nil
		},
	}
}

// signed returns a letter with a signature and a body.
func signed(l letter, body string) string {
	text, _, _ := strings.Cut(l.String(), "\n\n")
	return text + "\nDKIM-Signature: v=1; d=example.net\n\n" + body
}

// TestBodies tests that the bodies of signed messages are judged, in the order of their arrival.
func TestBodies(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	separator := "From x " + noon.Format(time.ANSIC) + "\n"
	inbox := separator + signed(letter{at: day}, "changed\n\n>From here\n") + "\n" + separator + letter{}.String() + "\n" + separator + signed(letter{}, "good\n")
	var seen []string
	r := replayed(t, Options{
		Paths:  []string{file(t, "inbox", inbox), file(t, "a.eml", signed(letter{at: 2 * day}, ""))},
		Config: bodyConfig(&seen, checks.Off),
		DNS:    dnsOf(t, zoneText+"sel._domainkey.example.net. TXT \"v=DKIM1; p=AAAA\"\n"),
	})
	want := []string{`2024-11-21 "good\r\n"`, `2024-11-22 "changed\r\n\r\nFrom here\r\n\r\n"`, `2024-11-23 ""`}
	if strings.Join(seen, "|") != strings.Join(want, "|") {
		t.Errorf("got  %q\nwant %q", seen, want)
	}
	if r.Judged != 4 || r.Refused != 1 || r.Rejected != 1 {
		t.Errorf("judged %d, refused %d, rejected %d", r.Judged, r.Refused, r.Rejected)
	}
}

// TestBodyBeforeUnsignedMessage tests that an unsigned message has no body from a message before it that could not be read.
func TestBodyBeforeUnsignedMessage(t *testing.T) {
	t.Parallel()
	r := &replay{opts: Options{Config: bodyConfig(new([]string), checks.Off)}, dns: &sameAnswers{Resolver: dnsOf(t, zoneText)}}
	defer r.close()
	if err := r.build(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(r.bodyOf("DKIM-Signature: x\n"), "the start of a body"); err != nil {
		t.Fatal(err)
	}
	if w := r.bodyOf("Subject: x\n"); w != nil {
		t.Error("the body of an unsigned message is kept")
	}
	if err := r.archive.add(mailbox.Message{Head: "Subject: x\n"}, noon); err != nil {
		t.Fatal(err)
	}
	for m, err := range r.archive.sorted(0, func(*mail) {}) {
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(m.body); len(body) > 0 {
			t.Errorf("body %q", body)
		}
	}
}

// TestKeyGone tests that a message whose key is not in the DNS any more is not judged, whatever happens on errors.
func TestKeyGone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, zone string
		onError    checks.Action
		why        string // the check did not judge; empty if it did
		refused    int
	}{
		{"a key", "sel._domainkey.example.net. TXT \"v=DKIM1; p=AAAA\"", checks.Tempfail, "", 1},
		{"no key", "", checks.Off, "a DKIM key is not in the DNS any more", 0},
		{"no key, and errors defer", "", checks.Tempfail, "a DKIM key is not in the DNS any more", 0},
		{"a revoked key", "sel._domainkey.example.net. TXT \"v=DKIM1; \" \"p= ;\"", checks.Tempfail, "a DKIM key is not in the DNS any more", 0},
		{"the DNS fails: an unsure verdict defers", "!SERVFAIL sel._domainkey.example.net", checks.Off, "could not find out", 1},
		{"the DNS fails, and errors defer", "!SERVFAIL sel._domainkey.example.net", checks.Tempfail, "could not find out", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var seen []string
			r := replayed(t, Options{
				Paths:  []string{file(t, "a.eml", signed(letter{}, "changed\n")), file(t, "b.eml", signed(letter{}, "good\n"))},
				Config: bodyConfig(&seen, c.onError), DNS: dnsOf(t, zoneText+c.zone+"\n"),
			})
			if r.Judged != 2 || r.Refused != c.refused {
				t.Errorf("judged %d, refused %d, want 2 and %d", r.Judged, r.Refused, c.refused)
			}
			gaps := jsonOf(t, r).NotJudged["body"]
			if n := gaps[c.why]; c.why != "" && n != 2 || c.why == "" && len(gaps) > 0 {
				t.Errorf("not judged: %v, want 2 times %q", gaps, c.why)
			}
		})
	}
}
