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

	"milterd/checks"

	"github.com/miekg/dns"
)

// FuzzEncode decodes an encoded record that has the same remote bytes in every field.
func FuzzEncode(f *testing.F) {
	f.Add("mail.example.com", int64(1_500_000))
	f.Add("", int64(0))
	f.Add("\x00\"\\\n\u2028\xff<é>\x7f", int64(-1))
	f.Fuzz(func(t *testing.T, s string, n int64) {
		if len(s) > 500 { // newRecord cuts longer values
			return
		}
		r := Record{
			ID: s, Time: noon.Add(time.Duration(n % 1e9)), Session: s, QueueID: s, ClientName: s, Helo: s, MailFrom: s, Rcpts: []string{s, s},
			Action: s, Reason: s, Reply: s, Outcomes: []Outcome{{Check: s, Stage: s, Reason: s, Action: s, Text: s, Detail: map[string]string{s: s}}, {}},
		}
		if n%2 == 0 {
			r.Client, r.Rcpts, r.Outcomes = netip.MustParseAddr("2001:db8::1"), []string{}, []Outcome{}
		}
		asked := checks.Asked{Question: checks.Question{Name: s, Type: dns.TypeTXT}, Err: errors.New(s), Took: time.Duration(n)}
		r.Checks = Trace([]checks.Result{
			{
				Check: s, Stage: checks.Helo, Outcomes: []checks.Outcome{{Reason: &checks.Reason{ID: s}}}, Err: errors.New(s),
				Asked: []checks.Asked{asked, asked}, Notes: []string{s}, Took: time.Duration(n),
			},
			{},
		})
		text, err := encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte("\n")); n != 2 {
			t.Fatalf("%d lines, want 2: %q", n, text)
		}
		count := 0
		for _, got := range decode(appendRecord(appendRecord(nil, n, text), n, text)) {
			count++
			if err := got.decodeChecks(); err != nil {
				t.Fatalf("%v: %q", err, text)
			}
			want := r
			want.Number = n
			if utf8.ValidString(s) { // JSON has no other strings
				same(t, got.Record, want)
			}
		}
		if count != 2 {
			t.Errorf("%d records, want 2: %q", count, text)
		}
	})
}

// same compares records in JSON, which has no monotonic clock and no difference between nil and empty.
func same(t *testing.T, got, want Record) {
	t.Helper()
	g, errGot := json.Marshal(got)
	w, errWant := json.Marshal(want)
	if err := errors.Join(errGot, errWant); err != nil || !bytes.Equal(g, w) {
		t.Errorf("%v\ngot  %s\nwant %s", err, g, w)
	}
}

// FuzzDecode decodes damaged parts.
func FuzzDecode(f *testing.F) {
	text, err := encode(decided(mail("192.0.2.9", "h", "a@example.com", "b@example.org"), refused("")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(appendRecord(nil, 7, text))
	f.Add([]byte("1 {}\n\n2\n\n 3 {}\n[]"))
	f.Fuzz(func(_ *testing.T, part []byte) {
		for _, r := range decode(part) {
			_ = r.decodeChecks()
		}
	})
}

func TestAnAnswerThatPanics(t *testing.T) {
	t.Parallel()
	d := refused("")
	d.Results[0].Asked[0].Answer.Records = []dns.RR{nil}
	if got := Trace(d.Results)[0].Asked[0].Answer; got != "the answer cannot be shown" {
		t.Errorf("got %q", got)
	}
}

// BenchmarkEncode makes the record of a refusal with twelve questions.
func BenchmarkEncode(b *testing.B) {
	d := refused("")
	asked := d.Results[0].Asked[0]
	for range 12 {
		d.Results[0].Asked = append(d.Results[0].Asked, asked)
	}
	s := mail("192.0.2.9", "mail.example.com", "a@example.com", "bob@example.org")
	b.ReportAllocs()
	for b.Loop() {
		text, err := encode(decided(s, d))
		if err != nil || !strings.Contains(string(text), "mail.example.com") {
			b.Fatal(err)
		}
	}
}
