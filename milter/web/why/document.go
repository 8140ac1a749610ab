package why

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"milterd/checks"
	"milterd/milter/records"
	"milterd/milter/web"
)

// document is the page of a reason for programs. It has what the page shows, and nothing that the page hides, such as local parts
// of recipients. The file pages/schema.json describes it. A new version of milterd may add fields; it does not change or remove
// one.
type document struct {
	Site     string      `json:"site"`
	Reason   string      `json:"reason"`
	Title    string      `json:"title"`
	Why      string      `json:"why"`
	Remedy   string      `json:"remedy"`
	Local    bool        `json:"local"` // no standard requires it
	RFCs     []rfc       `json:"rfcs"`
	Notice   string      `json:"notice,omitempty"` // why there is no decision, or no test
	Decision *decision   `json:"decision,omitempty"`
	Test     *testResult `json:"test,omitempty"`
}

// decision is the record of the mail, as far as the page shows it.
type decision struct {
	Reply      string            `json:"reply"`
	Time       time.Time         `json:"time"`
	Until      time.Time         `json:"until"` // when the reference expires
	Client     string            `json:"client"`
	Helo       string            `json:"helo"`
	MailFrom   string            `json:"mail_from"`
	RcptDomain string            `json:"rcpt_domain"`
	Retry      retry             `json:"retry"`
	CanTest    bool              `json:"can_test"`
	Values     map[string]string `json:"values"`
	Others     []other           `json:"others"` // reasons that applied beside the one of the reply
	Asked      []asked           `json:"asked"`
}

// retry reports whether the same message can pass later although the sender changes nothing.
type retry struct {
	Helps bool       `json:"helps"`
	After *time.Time `json:"after,omitempty"` // nil if unknown
}

type other struct {
	Reason string `json:"reason"`
	Text   string `json:"text"`
}

type asked struct {
	Question string `json:"question"`
	Answer   string `json:"answer"`
}

// testResult is the result of testing a record again.
type testResult struct {
	State   string         `json:"state"`
	Lifted  bool           `json:"lifted"`
	Reasons []testedReason `json:"reasons"`
	Asked   []asked        `json:"asked"`
}

type testedReason struct {
	Reason   string   `json:"reason"`
	State    string   `json:"state"`
	Text     string   `json:"text"`
	Records  []string `json:"records"`  // lines of a zone file that repair it
	Replaces bool     `json:"replaces"` // the records replace the SPF record, the MX records or the CNAME record of the name
}

// documentSuffix ends the paths of documents.
const documentSuffix = ".json"

// wantsDocument reports whether a request is for the document of a page: the path ends with .json, or the client accepts JSON
// and not HTML, RFC 9110 section 12.5.1.
func wantsDocument(r *http.Request) bool {
	accept := strings.ToLower(strings.Join(r.Header.Values("Accept"), ","))
	return strings.HasSuffix(r.URL.Path, documentSuffix) ||
		strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}

// writeDocument sends the document of a reason's page.
func (p *pages) writeDocument(w http.ResponseWriter, code int, v view, rec *records.Record) {
	d := document{
		Site: p.Site, Reason: v.Reason.ID, Title: v.Title, Why: v.Reason.Why, Remedy: v.Reason.Remedy, Local: v.Reason.Local,
		RFCs: append([]rfc{}, v.Reason.RFCs...), Notice: v.Notice,
	}
	if rec != nil {
		d.Decision = newDecision(v.Seen, *rec)
	}
	if v.Result != nil {
		d.Test = newTestResult(v.Result)
	}
	p.writeJSON(w, code, v.Private, d)
}

// missingDocument sends status 404 and the name of the site, for an unknown reason.
func (p *pages) missingDocument(w http.ResponseWriter) {
	p.writeJSON(w, http.StatusNotFound, true, struct {
		Site   string `json:"site"`
		Notice string `json:"notice"`
	}{p.Site, p.texts.Titles["missing"]})
}

func (p *pages) writeJSON(w http.ResponseWriter, code int, private bool, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // no type of a document has values that cannot be encoded
		p.warn("document", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", cacheControl(code, private))
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n')) // fails if the client closed the connection
}

func newDecision(s *seen, rec records.Record) *decision {
	d := &decision{
		Reply: s.Reply, Time: s.Time, Until: s.Until, Client: s.Client, Helo: s.Helo, MailFrom: s.MailFrom, RcptDomain: s.RcptDomain,
		Retry: retryOf(rec), CanTest: s.CanTest, Values: map[string]string{}, Others: []other{}, Asked: documentAsked(s.Asked),
	}
	for _, detail := range s.Details {
		d.Values[detail.Key] = detail.Value
	}
	for _, o := range s.Others {
		d.Others = append(d.Others, other{Reason: o.Reason, Text: web.Shown(o.Text)})
	}
	return d
}

// retryOf returns whether a retry helps. After a 4yz reply it may, RFC 5321 section 4.2.1. The records of greylisting, limits and
// blocks have the time from which it does; a 5yz reply to a block ends with the block.
func retryOf(rec records.Record) retry {
	if wait, err := strconv.Atoi(rec.Detail("seconds")); err == nil {
		return retry{Helps: true, After: new(rec.Time.Add(time.Duration(wait) * time.Second))}
	}
	if until, err := time.Parse(checks.TimeLayout, rec.Detail("until")); err == nil {
		return retry{Helps: true, After: &until}
	}
	return retry{Helps: strings.HasPrefix(rec.Reply, "4")}
}

func newTestResult(res *result) *testResult {
	t := &testResult{State: res.State, Lifted: res.Lifted, Reasons: []testedReason{}, Asked: documentAsked(res.Asked)}
	for _, l := range res.Lines {
		t.Reasons = append(t.Reasons, testedReason{
			Reason: l.Reason, State: l.State, Text: web.Shown(l.Text), Records: append([]string{}, l.Records...), Replaces: l.Replaces,
		})
	}
	return t
}

func documentAsked(list []records.Asked) []asked {
	out := []asked{}
	for _, a := range list {
		out = append(out, asked{Question: web.Shown(a.Question), Answer: web.Shown(a.Answer)})
	}
	return out
}
