package why

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"milterd/checks/checktest"
	"milterd/milter/records"
)

// document returns the document that a request is answered with. It fails the test if it does not keep to the schema that the
// site serves, and if its schema lacks one of its properties.
func (s *site) document(method, path, accept string) (d document) {
	s.t.Helper()
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("Accept", accept)
	p := s.do(r)
	if p.Code != 200 || p.Header().Get("Content-Type") != "application/json" || p.Header().Get("Vary") != "Accept" {
		s.t.Fatalf("%s %s: %d %v %s", method, path, p.Code, p.Header(), p.Body)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(p.Body.Bytes()))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.schema().Validate(value); err != nil {
		s.t.Errorf("%s %s: %v\n%s", method, path, err, p.Body)
	}
	if err := json.Unmarshal(p.Body.Bytes(), &d); err != nil {
		s.t.Fatal(err)
	}
	return d
}

// schema returns the schema that the site serves. It allows no property that it does not describe.
func (s *site) schema() *jsonschema.Schema {
	s.t.Helper()
	text := strings.ReplaceAll(s.get("/why/schema.json").Body.String(), `"type": "object",`, `"type": "object", "unevaluatedProperties": false,`)
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", value); err != nil {
		s.t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		s.t.Fatal(err)
	}
	return schema
}

// TestDocumentOfEachReason tests the document of each reason without a reference.
func TestDocumentOfEachReason(t *testing.T) {
	t.Parallel()
	s := newSite(t, brokenZone)
	for _, r := range allReasons() {
		d := s.document("GET", "/why/"+r.ID+".json", "")
		if d.Reason != r.ID || d.Site != "mx.example.org" || d.Why != r.Why || d.Remedy != r.Remedy || d.Decision != nil || d.Test != nil {
			t.Errorf("%s: %+v", r.ID, d)
		}
	}
	if s.asked.Load()+s.read.Load() != 0 {
		t.Error("a document asked the DNS or the store")
	}
}

// TestDocumentOfADecision tests that the document of a refusal says what to publish, and that the test says when it is repaired.
func TestDocumentOfADecision(t *testing.T) {
	t.Parallel()
	s := newSite(t, brokenZone)
	link := s.refuse("192.0.2.9", "mail.example.com", "alice@example.com", "bob@example.org", "rdns-missing")
	d := s.document("GET", link, "application/json")
	got := d.Decision
	if got == nil || !strings.HasPrefix(got.Reply, "550 5.7.25 ") || got.Client != "192.0.2.9" || got.Helo != "mail.example.com" ||
		got.MailFrom != "alice@example.com" || got.RcptDomain != "example.org" || !got.CanTest || got.Retry != (retry{}) || len(got.Asked) == 0 {
		t.Errorf("%+v", got)
	}
	if strings.Contains(got.Reply, "bob@") {
		t.Errorf("the recipient is shown: %s", got.Reply)
	}
	wrongNow := s.document("POST", link, "application/json").Test
	want := []string{"9.2.0.192.in-addr.arpa. IN PTR mail.example.com.", "mail.example.com. IN A 192.0.2.9"}
	if wrongNow == nil || wrongNow.State != stateWrong || strings.Join(wrongNow.Lines[0].Records, "|") != strings.Join(want, "|") {
		t.Errorf("the test: %+v", wrongNow)
	}
	s.setZone(strings.Replace(partlyRepairedZone, "v=spf1 mx", "v=spf1 a:mail.example.com", 1))
	if after := s.document("POST", link, "application/json").Test; after == nil || after.State != stateRepaired || !after.Lifted {
		t.Errorf("the test after the repair: %+v", after)
	}
}

// TestDocumentHasWholeAnswers tests that the document has a long DNS answer as the page has it.
func TestDocumentHasWholeAnswers(t *testing.T) {
	t.Parallel()
	zone := brokenZone
	for i := range 5 {
		zone += fmt.Sprintf("9.2.0.192.in-addr.arpa. PTR %s%d.example.com.\n", strings.Repeat("a-long-label.", 7), i)
	}
	s := newSite(t, zone)
	link := s.refuse("192.0.2.9", "mail.example.com", "ann@example.com", "bob@example.org", "rdns-mismatch")
	answer := s.document("GET", link, "application/json").Decision.Asked[0].Answer
	if strings.Count(answer, ".example.com") != 5 {
		t.Errorf("the answer is cut: %s", answer)
	}
	s.get(link).Has(t, answer)
}

// TestDocumentWithoutADecision tests the documents of invalid references, of an unknown reason, and of a browser.
func TestDocumentWithoutADecision(t *testing.T) {
	t.Parallel()
	s := newSite(t, brokenZone)
	link := s.refuse("192.0.2.9", "mail.example.com", "alice@example.com", "bob@example.org", "rdns-missing")
	for name, path := range map[string]string{
		"forged":       "/why/rdns-missing.json?r=" + strings.Repeat("a", 40),
		"other reason": strings.Replace(link, "rdns-missing", "spf-fail.json", 1),
	} {
		if d := s.document("GET", path, ""); d.Notice == "" || d.Decision != nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
	var missing map[string]string
	p := s.get("/why/no-such-reason.json")
	if err := json.Unmarshal(p.Body.Bytes(), &missing); err != nil || p.Code != 404 || len(missing) != 2 || missing["site"] != "mx.example.org" || missing["notice"] == "" {
		t.Errorf("unknown reason: %v, %d %s", err, p.Code, p.Body)
	}
	r := httptest.NewRequest("GET", link, nil)
	r.Header.Set("Accept", "text/html,application/xhtml+xml,application/json;q=0.9")
	if p = s.do(r); p.Header().Get("Content-Type") != "text/html; charset=utf-8" || p.Header().Get("Vary") != "Accept" {
		t.Errorf("a browser: %v", p.Header())
	}
}

// TestRetry tests what the document says about a retry.
func TestRetry(t *testing.T) {
	t.Parallel()
	record := func(reply, reason, name, value string) records.Record {
		return records.Record{
			Time: checktest.Now, Reply: reply, Reason: reason,
			Outcomes: []records.Outcome{{Reason: reason, Detail: map[string]string{name: value}}},
		}
	}
	for _, c := range []struct {
		name  string
		rec   records.Record
		helps bool
		after string
	}{
		{"a refusal for good", record("550 5.7.25 no", "rdns-missing", "client", "x"), false, ""},
		{"the DNS did not answer", record("451 4.7.24 no", "spf-temperror", "domain", "x"), true, ""},
		{"greylisting", record("451 4.7.1 no", "greylisted", "seconds", "90"), true, checktest.Now.Add(90 * time.Second).UTC().Format(time.RFC3339)},
		{"a block", record("550 5.7.1 no", "client-blocked", "until", "2026-01-02 03:04 UTC"), true, "2026-01-02T03:04:00Z"},
		{"an invalid time", record("550 5.7.1 no", "client-blocked", "until", "soon"), false, ""},
	} {
		got, after := retryOf(c.rec), ""
		if got.After != nil {
			after = got.After.UTC().Format(time.RFC3339)
		}
		if got.Helps != c.helps || after != c.after {
			t.Errorf("%s: %v %q, want %v %q", c.name, got.Helps, after, c.helps, c.after)
		}
	}
}

// TestReplyParts tests the reply on the page of a reason: what stands for its values, and that a value which may be empty is left out.
func TestReplyParts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]replyPart{
		"HELO {helo} is bad":        {{Text: "HELO "}, {Text: "helo", Value: true}, {Text: " is bad"}},
		"{mail_from}":               {{Text: "mail from", Value: true}},
		"(SPF: {match}){explains}":  {{Text: "(SPF: "}, {Text: "match", Value: true}, {Text: ")"}},
		"it sends no mail {a} (b).": {{Text: "it sends no mail "}, {Text: "a", Value: true}, {Text: " (b)."}},
	} {
		if got := replyParts(text); !slices.Equal(got, want) {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}
