package milter

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"milterd/checks"
	"milterd/milter/miltertest"
)

// marking is a check with two reasons, for the client "bad" at RCPT and for the field X-Bad at the end of the header.
type marking struct{}

var (
	badClient = &checks.Reason{ID: "bad-client", Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{helo} is bad"}}
	badField  = &checks.Reason{ID: "bad-field", Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "X-Bad is there"}}
)

func (marking) Check(_ context.Context, r *checks.Request) (list []checks.Verdict, err error) {
	if r.Stage == checks.RcptTo && r.Helo == "bad" {
		list = append(list, checks.Verdict{Reason: badClient})
	}
	for _, f := range r.Envelope.Header {
		if f.Name == "X-Bad" {
			list = append(list, checks.Verdict{Reason: badField})
		}
	}
	return list, nil
}

// startMarking starts a server with the check marking. change changes its options. warnings receives its log.
func startMarking(t testing.TB, client, field checks.Action, change func(*checks.Options)) (address string, warnings *logtest.Hook) {
	t.Helper()
	opts := checks.Options{
		Actions: map[string]checks.Action{badClient.ID: client, badField.ID: field}, ReplyAt: checks.RcptTo, Budget: 8 * time.Second,
	}
	if change != nil {
		change(&opts)
	}
	p, err := checks.New([]checks.Instance{{Check: marking{}, Info: checks.Info{
		Name: "marking", Stages: []checks.Stage{checks.RcptTo, checks.EndOfHeader}, Reasons: []*checks.Reason{badClient, badField},
	}}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	address, _, _ = start(t, func(srv *Server) {
		srv.Pipeline = func() *checks.Pipeline { return p }
		warnings = logtest.NewLocal(srv.Log.Logger)
	}, accept)
	return address, warnings
}

// changesOf sends a message and returns the changes, one a line. A field is "Name: value" or "Name:value".
func (d dialer) changesOf(helo string, fields ...string) string {
	d.t.Helper()
	d.must(d.Connect("mail.example.net", client, map[string]string{"j": "mx"}))
	d.must(d.Helo(helo, map[string]string{}))
	d.must(d.Mail("<a@example.net>", map[string]string{}))
	d.rcpt("<u@example.org>")
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		d.must(d.Header(name, value))
	}
	d.must(d.EndOfHeader(nil))
	r := d.must(d.EndOfMessage(map[string]string{"i": "Q1"}))
	if r.Refused() {
		return strings.Join(r.Lines, "|")
	}
	var lines []string
	for _, c := range r.Changes {
		lines = append(lines, fmt.Sprintf("%c %d %s:%s", c.Code, c.Index, c.Name, c.Value))
	}
	return strings.Join(lines, "|")
}

// TestMarkedMessage shows the packets for a tagged and for a quarantined message.
func TestMarkedMessage(t *testing.T) {
	t.Parallel()
	prefix := func(o *checks.Options) { o.SubjectPrefix = "[suspicious] " }
	for _, c := range []struct {
		name          string
		client, field checks.Action
		change        func(*checks.Options)
		helo          string
		fields        []string
		want          string
	}{
		{"nothing applies", checks.Tag, checks.Quarantine, prefix, "good", []string{"Subject: a"}, ""},
		{"watched", checks.Watch, checks.Watch, prefix, "bad", []string{"X-Bad: 1"}, ""},
		{"tagged for the client", checks.Tag, checks.Quarantine, nil, "bad", []string{"Subject: a"}, "i 0 X-Milterd: bad-client; bad is bad"},
		{"quarantined for a field, tagged for the client", checks.Tag, checks.Quarantine, nil, "bad", []string{"Subject: a", "X-Bad: 1"},
			"i 0 X-Milterd: bad-client; bad is bad|i 0 X-Milterd: bad-field; X-Bad is there|q 0 :bad-field; X-Bad is there"},
		{"with a prefix", checks.Tag, checks.Watch, prefix, "bad", []string{"Subject: a", "subject : b"},
			"i 0 X-Milterd: bad-client; bad is bad|m 1 Subject: [suspicious] a|m 2 Subject: [suspicious] b"},
		{"with a prefix that is there", checks.Tag, checks.Watch, prefix, "bad", []string{"Subject: [suspicious] a"},
			"i 0 X-Milterd: bad-client; bad is bad"},
		{"with a prefix, without a subject", checks.Quarantine, checks.Watch, prefix, "bad", nil,
			"i 0 X-Milterd: bad-client; bad is bad|i 0 Subject: [suspicious]|q 0 :bad-client; bad is bad"},
		{"forged fields", checks.Tag, checks.Watch, nil, "bad", []string{"X-Milterd: none", "Subject: a", "x-milterd : none"},
			"m 2 X-Milterd:|m 1 X-Milterd:|i 0 X-Milterd: bad-client; bad is bad"},
		{"forged fields of an innocent message", checks.Tag, checks.Watch, nil, "good", []string{"X-Milterd: none"}, "m 1 X-Milterd:"},
		{"a trusted client", checks.Tag, checks.Watch, func(o *checks.Options) { o.Trusted.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }, "bad",
			[]string{"X-Milterd: none"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address, _ := startMarking(t, c.client, c.field, c.change)
			d := dial(t, address)
			for range 2 {
				want(t, "changes", d.changesOf(c.helo, c.fields...), c.want)
			}
		})
	}
}

// TestMTAWithoutQuarantine shows that the message is tagged instead, and that one warning says so.
func TestMTAWithoutQuarantine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		offer    gomilter.OptAction
		want     string
		warnings string
	}{
		{"no quarantine", miltertest.AllActions &^ gomilter.OptQuarantine, "i 0 X-Milterd: bad-client; bad is bad",
			"the MTA does not let filters quarantine messages: they are tagged instead"},
		{"no change of the header", miltertest.AllActions &^ gomilter.OptChangeHeader, "q 0 :bad-client; bad is bad",
			"the MTA does not let filters change the header: no message is tagged or gets trace fields"},
		{"everything", miltertest.AllActions, "i 0 X-Milterd: bad-client; bad is bad|q 0 :bad-client; bad is bad", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address, log := startMarking(t, checks.Quarantine, checks.Watch, nil)
			for range 2 {
				nc, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				d := dialer{miltertest.NewConn(nc, 10*time.Second), t}
				defer d.Close()
				if err := d.Negotiate(c.offer, miltertest.AllProtocol); err != nil {
					t.Fatal(err)
				}
				want(t, "changes", d.changesOf("bad"), c.want)
			}
			var warnings []string
			for _, line := range log.AllEntries() {
				warnings = append(warnings, line.Message)
			}
			want(t, "warnings", strings.Join(warnings, "|"), c.warnings)
		})
	}
}

// TestTooManyForgedMarks shows that a message with more than maxForged fields is deferred.
func TestTooManyForgedMarks(t *testing.T) {
	t.Parallel()
	address, _ := startMarking(t, checks.Tag, checks.Watch, nil)
	d := dial(t, address)
	fields := make([]string, maxForged)
	for i := range fields {
		fields[i] = "X-Milterd: none"
	}
	if got := d.changesOf("good", fields...); strings.Count(got, "m ") != maxForged {
		t.Errorf("got %s", got)
	}
	want(t, "one more", d.changesOf("good", append(fields, "X-Milterd: none")...), "451 4.6.0 too many X-Milterd fields that claim to be from this host")
	want(t, "the next message", d.changesOf("good"), "")
}

// TestManyResultsWithULabels tests that further results count as forged, as it would take long to compare all of them.
func TestManyResultsWithULabels(t *testing.T) {
	t.Parallel()
	address, _ := startMarking(t, checks.Watch, checks.Watch, func(o *checks.Options) {
		o.TraceFields = checks.TraceFields{AuthServID: "mx.example.org", AuthenticationResults: true}
	})
	d := dial(t, address)
	fields := slices.Repeat([]string{"Authentication-Results: b\u00fccher.example; none"}, maxForged)
	removed := func(more ...string) (list []string) {
		for _, change := range strings.Split(d.changesOf("good", append(slices.Clone(fields), more...)...), "|") {
			if strings.HasPrefix(change, "m ") {
				list = append(list, change)
			}
		}
		return list
	}
	want(t, "one more in US-ASCII", strings.Join(removed("Authentication-Results: other.example; none"), "|"), "")
	got := removed("Authentication-Results: b\u00fccher.example; none", "Authentication-Results: =?utf-8?q?b=C3=BCcher.example?=; none")
	want(t, "two more", strings.Join(got, "|"), "m 102 Authentication-Results:|m 101 Authentication-Results:")
}
