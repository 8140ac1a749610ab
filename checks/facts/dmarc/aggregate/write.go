package aggregate

import (
	"bytes"
	"encoding/xml"
	"strconv"
)

// document is the XML document of a report. The elements have the order of the schema in appendix A, as those of Policy and Signature
// have. Parse ignores their namespace.
type document struct {
	XMLName      xml.Name
	Version      string  `xml:"version,omitempty"`
	Organization string  `xml:"report_metadata>org_name"`
	Email        string  `xml:"report_metadata>email"`
	ID           string  `xml:"report_metadata>report_id"`
	Begin        int64   `xml:"report_metadata>date_range>begin"`
	End          int64   `xml:"report_metadata>date_range>end"`
	Generator    string  `xml:"report_metadata>generator,omitempty"`
	Policy       Policy  `xml:"policy_published"`
	Records      records `xml:"record"`
}

type record struct {
	Source       string            `xml:"row>source_ip"`
	Count        string            `xml:"row>count"`
	Disposition  string            `xml:"row>policy_evaluated>disposition"`
	DKIM         string            `xml:"row>policy_evaluated>dkim"`
	SPF          string            `xml:"row>policy_evaluated>spf"`
	Overrides    limited[override] `xml:"row>policy_evaluated>reason"`
	EnvelopeFrom string            `xml:"identifiers>envelope_from"`
	HeaderFrom   string            `xml:"identifiers>header_from"`
	Results      results           `xml:"auth_results"`
}

type override struct {
	Type string `xml:"type"`
}

type results struct {
	DKIM limited[Signature] `xml:"dkim"`
	SPF  limited[sender]    `xml:"spf"`
}

type sender struct {
	Domain string `xml:"domain"`
	Scope  string `xml:"scope,omitempty"`
	Result string `xml:"result"`
}

// Write returns the XML document of a report, in the form of appendix A. Characters that XML does not allow are replaced.
func (r *Report) Write() ([]byte, error) {
	d := document{
		XMLName: xml.Name{Space: namespace, Local: "feedback"}, Version: "1.0",
		Organization: r.Organization, Email: r.Email, ID: r.ID, Begin: r.Begin.Unix(), End: r.End.Unix(), Generator: r.Generator,
		Policy: r.Policy,
	}
	for _, rec := range r.Records {
		d.Records = append(d.Records, rec.element())
	}
	var text bytes.Buffer
	text.WriteString(xml.Header)
	e := xml.NewEncoder(&text)
	e.Indent("", "  ")
	if err := e.Encode(d); err != nil {
		return nil, err
	}
	text.WriteByte('\n')
	return text.Bytes(), nil
}

func (r Record) element() record {
	e := record{
		Source: r.Source.String(), Count: strconv.FormatInt(r.Count, 10), Disposition: r.Disposition, DKIM: r.DKIM, SPF: r.SPF,
		EnvelopeFrom: r.EnvelopeFrom, HeaderFrom: r.HeaderFrom, Results: results{DKIM: r.Signatures},
	}
	for _, o := range r.Overrides {
		e.Overrides = append(e.Overrides, override{Type: o})
	}
	if r.Sender.Domain != "" {
		e.Results.SPF = []sender{{Domain: r.Sender.Domain, Scope: "mfrom", Result: r.Sender.Result}}
	}
	return e
}
