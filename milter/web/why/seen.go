package why

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/checks"
	"milterd/milter/records"
	"milterd/milter/web"
)

// seen is what the page of a reason, and its document, show of a record.
type seen struct {
	Reply      string            `json:"reply"`
	Time       time.Time         `json:"time"`
	Until      time.Time         `json:"until"` // when the reference expires
	Client     string            `json:"client"`
	Helo       string            `json:"helo"`
	MailFrom   string            `json:"mail_from"`
	RcptDomain string            `json:"rcpt_domain"`
	Retry      retry             `json:"retry"`
	CanTest    bool              `json:"can_test"`
	Values     map[string]string `json:"values"` // Details by their keys
	Others     []other           `json:"others"` // reasons that applied beside the one of the reply
	Asked      []asked           `json:"asked"`

	// Only for the page.
	Reason    string   `json:"-"`
	Ref       string   `json:"-"`
	TestsHelo bool     `json:"-"` // the test takes another HELO name
	Fault     bool     `json:"-"` // somebody has to repair something
	Temporary bool     `json:"-"` // the reply was 4yz
	Details   []detail `json:"-"`
}

type other struct {
	Reason string `json:"reason"`
	Text   string `json:"text"`
}

type asked struct {
	Question string `json:"question"`
	Answer   string `json:"answer"`
}

// seen returns what the page shows of a record. Of the recipients it shows only domains, because bounces with the link may
// reach third parties.
func (p *pages) seen(rec records.Record) *seen {
	s := &seen{
		Reply: maskRecipients(rec, rec.Reply), Time: rec.Time, Until: rec.Time.Add(p.Keep), Client: "unknown",
		Helo: web.Shown(rec.Helo), MailFrom: web.Shown(rec.MailFrom), Reason: rec.Reason, Ref: p.Signer.Sign(rec.ID, rec.Reason),
		Retry: retryOf(rec), CanTest: len(p.testable(rec)) > 0, TestsHelo: testsHelo(rec), Fault: p.texts.Reasons[rec.Reason].Do == todoRepair,
		Temporary: isTemporary(rec), Details: details(rec), Values: map[string]string{}, Others: []other{},
	}
	s.Asked = p.askedOf(slices.DeleteFunc(slices.Clone(rec.Checks), func(c records.Check) bool {
		return len(c.Reasons) == 0 && c.Error == ""
	}))
	if rec.Client.IsValid() {
		s.Client = rec.Client.String()
	}
	for _, d := range s.Details {
		s.Values[d.Key] = d.Value
	}
	if len(rec.Rcpts) > 0 {
		s.RcptDomain = checks.ParseAddress(rec.Rcpts[0]).Domain
	}
	for _, o := range rec.Outcomes {
		if o.Reason != rec.Reason && p.public(o.Check) && p.reasons[o.Reason] != nil {
			s.Others = append(s.Others, other{Reason: o.Reason, Text: maskRecipients(rec, o.Text)})
		}
	}
	return s
}

// detail is a value that the page shows of the reason of the reply.
type detail struct{ Key, Name, Value string }

// shownDetails are the details of reasons about the authentication of the message, in the order of the page.
var shownDetails = []struct{ key, name string }{
	{"author_domain", "Domain in From"},
	{"spf", "SPF"},
	{"dkim", "DKIM signatures"},
	{"signing_domain", "Domain of the signature"},
	{"selector", "Selector of its key"},
	{"changed", "Changed after signing"},
	{"aligned", "Would show the domain in From if it passed"},
	{"policy_domain", "Domain with the DMARC record"},
	{"record", "DMARC record"},
	{"path", "Passed on"},
}

// details returns the details of the reason of the reply. Only reasons that are about the message have them.
func details(rec records.Record) []detail {
	if rec.Detail("author_domain") == "" && rec.Detail("signing_domain") == "" {
		return nil
	}
	var list []detail
	for _, d := range shownDetails {
		if value := rec.Detail(d.key); value != "" {
			list = append(list, detail{Key: d.key, Name: d.name, Value: web.Shown(value)})
		}
	}
	return list
}

// public reports whether senders may see the questions and results of a check.
func (p *pages) public(check string) bool {
	return slices.ContainsFunc(p.Checks, func(info checks.Info) bool { return info.Name == check && info.Public })
}

// maxAsked is the number of DNS answers that a page shows.
const maxAsked = 40

// askedOf returns the DNS questions of the public checks in a trace, without duplicates.
func (p *pages) askedOf(trace []records.Check) []asked {
	list := []asked{}
	shown := map[string]bool{}
	for _, c := range trace {
		if !p.public(c.Check) {
			continue
		}
		for _, a := range c.Asked {
			if !shown[a.Question] && len(list) < maxAsked {
				shown[a.Question] = true
				list = append(list, asked{Question: a.Question, Answer: a.Answer})
			}
		}
	}
	return list
}

// maxReplyValue is the length in bytes to which checks cut a value in a reply.
const maxReplyValue = 160

// maskRecipients replaces the local parts of the recipients' addresses in a text.
func maskRecipients(rec records.Record, text string) string {
	for _, rcpt := range rec.Rcpts {
		a := checks.ParseAddress(rcpt)
		if a.Text == "" {
			continue
		}
		masked := "<…@" + cmp.Or(a.Domain, literal(a.Literal), "…") + ">"
		for _, full := range []string{"<" + rcpt + ">", checks.Clean("<"+rcpt+">", maxReplyValue)} {
			text = strings.ReplaceAll(text, full, masked)
		}
		if strings.Contains(rcpt, "@") {
			text = strings.ReplaceAll(text, rcpt, strings.Trim(masked, "<>"))
		}
	}
	return text
}

func literal(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return "[" + a.String() + "]"
}
