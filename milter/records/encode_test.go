package records

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/miekg/dns"

	"milterd/checks"
)

// FuzzEncode reads what is written, with the same remote bytes in every field.
func FuzzEncode(f *testing.F) {
	f.Add("mail.example.com", int64(1_500_000))
	f.Add("", int64(0))
	f.Add("\x00\"\\\n\u2028\xff<é>\x7f", int64(-1))
	f.Fuzz(func(t *testing.T, s string, n int64) {
		if len(s) > 500 { // what is too long is cut elsewhere
			return
		}
		p := pending{Record: Record{
			ID: s, Number: n, Time: noon.Add(time.Duration(n % 1e9)), Session: s, QueueID: s, ClientName: s, Helo: s, MailFrom: s, Rcpts: []string{s, s},
			Action: s, Reason: s, Reply: s, Outcomes: []Outcome{{Check: s, Stage: s, Reason: s, Action: s, Text: s, Detail: map[string]string{s: s}}, {}},
		}}
		if n%2 == 0 {
			p.Client, p.Rcpts, p.Outcomes = netip.MustParseAddr("2001:db8::1"), []string{}, []Outcome{}
		}
		asked := checks.Asked{Question: checks.Question{Name: s, Type: dns.TypeTXT}, Err: errors.New(s), Took: time.Duration(n)}
		p.results = []checks.Result{
			{Check: s, Stage: checks.Helo, Outcomes: []checks.Outcome{{Reason: &checks.Reason{ID: s}}}, Err: errors.New(s), Asked: []checks.Asked{asked, asked}, Notes: []string{s}, Took: time.Duration(n)},
			{},
		}
		value, err := p.encode([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		value, ok := bytes.CutPrefix(value, []byte("before"))
		if n := bytes.Count(value, []byte("\n")); n != 2 || !ok {
			t.Fatalf("%d lines of 2: %q", n, value)
		}
		for head, trace := range entries(value) {
			r, err := decode(head)
			f := found{Record: r, checks: trace}
			if err := errors.Join(err, f.complete()); err != nil {
				t.Fatalf("%v: %q", err, value)
			}
			want := p.Record
			want.Checks = Trace(p.results)
			if utf8.ValidString(s) { // JSON has no other
				same(t, f.Record, want)
			}
		}
	})
}

// same compares records as JSON shows them.
func same(t *testing.T, got, want Record) {
	t.Helper()
	g, errGot := json.Marshal(got)
	w, errWant := json.Marshal(want)
	if err := errors.Join(errGot, errWant); err != nil || !bytes.Equal(g, w) {
		t.Errorf("%v\ngot  %s\nwant %s", err, g, w)
	}
}

func BenchmarkEncode(b *testing.B) {
	d := refused("")
	asked := d.Results[0].Asked[0]
	for i := range d.Results {
		for range 12 {
			d.Results[i].Asked = append(d.Results[i].Asked, asked)
		}
	}
	p := pending{Record: decided(mail("192.0.2.9", "mail.example.com", "a@example.com", "bob@example.org"), d), results: d.Results}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = p.encode(buf[:0])
	}
	if !strings.Contains(string(buf), "mail.example.com") {
		b.Fatal("nothing")
	}
}
