package why

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"milterd/checks"
	"milterd/milter/records"
)

// document is the page of a reason for programs. It has what the page shows, and nothing that the page hides, such as local parts
// of recipients. The file pages/schema.json describes it. A new version of milterd may add fields; it does not change or remove
// one.
type document struct {
	Site     string  `json:"site"`
	Reason   string  `json:"reason"`
	Title    string  `json:"title"`
	Why      string  `json:"why"`
	Remedy   string  `json:"remedy"`
	Local    bool    `json:"local"` // no standard requires it
	RFCs     []rfc   `json:"rfcs"`
	Notice   string  `json:"notice,omitempty"` // why there is no decision, or no test
	Decision *seen   `json:"decision,omitempty"`
	Test     *result `json:"test,omitempty"`
}

// retry reports whether the same message can pass later although the sender changes nothing.
type retry struct {
	Helps bool       `json:"helps"`
	After *time.Time `json:"after,omitempty"` // nil if unknown
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
func (p *pages) writeDocument(w http.ResponseWriter, code int, v view) {
	p.writeJSON(w, code, v.Private, document{
		Site: p.Site, Reason: v.Reason.ID, Title: v.Title, Why: v.Reason.Why, Remedy: v.Reason.Remedy, Local: v.Reason.Local,
		RFCs: append([]rfc{}, v.Reason.RFCs...), Notice: v.Notice, Decision: v.Seen, Test: v.Result,
	})
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

// retryOf reports whether a retry helps: it may after a 4yz reply (RFC 5321 section 4.2.1), and after a block. The records of
// greylisting, limits and blocks have the time.
func retryOf(rec records.Record) retry {
	if wait, err := strconv.Atoi(rec.Detail("seconds")); err == nil {
		return retry{Helps: true, After: new(rec.Time.Add(time.Duration(wait) * time.Second))}
	}
	if until, err := time.Parse(checks.TimeLayout, rec.Detail("until")); err == nil {
		return retry{Helps: true, After: &until}
	}
	return retry{Helps: isTemporary(rec)}
}

// isTemporary reports whether the reply was 4yz.
func isTemporary(rec records.Record) bool { return strings.HasPrefix(rec.Reply, "4") }
