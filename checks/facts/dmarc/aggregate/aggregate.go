// Package aggregate writes and reads DMARC aggregate reports, RFC 9990: what a receiver of mail reports to the owner of a domain
// about the mail with that domain in From. Section numbers in this package are those of RFC 9990.
//
// Write makes the XML document of a Report (write.go). Parse reads one, compressed or not, in the forms that receivers use since
// RFC 7489 (read.go). The check dmarc sends such reports, and the command dmarc-reports reads those of other receivers.
package aggregate

import (
	"net/netip"
	"time"
)

// namespace is the XML namespace of reports, section 6.1. Older reports have another one or none.
const namespace = "urn:ietf:params:xml:ns:dmarc-2.0"

// Report is an aggregate report. The texts of a report that was read are remote text, without control characters and of bounded
// length.
type Report struct {
	Organization string    // org_name: who reports
	Email        string    // of the reporter
	ID           string    // Report-ID, unique for the reporter and the domain
	Begin, End   time.Time // of the period
	Generator    string    // program that made the report; may be empty
	Policy       Policy
	Records      []Record
	Skipped      int // records without an address or a count
}

// Policy is the DMARC record that the reporter found. Values other than Domain and P may be empty.
type Policy struct {
	Domain    string `xml:"domain"` // whose record it is
	P         string `xml:"p"`      // none, quarantine or reject, as SP and NP
	SP        string `xml:"sp,omitempty"`
	NP        string `xml:"np,omitempty"`
	ADKIM     string `xml:"adkim,omitempty"` // r or s, as ASPF
	ASPF      string `xml:"aspf,omitempty"`
	Discovery string `xml:"discovery_method,omitempty"` // treewalk or psl
	Testing   string `xml:"testing,omitempty"`          // y or n
}

// Record counts the messages of one source that are alike.
type Record struct {
	Source       netip.Addr
	Count        int64
	Disposition  string      // what the reporter did: none, pass, quarantine or reject
	DKIM, SPF    string      // pass if one that aligns with HeaderFrom passes, else fail
	Overrides    []string    // why Disposition is not what the policy asks for, section 3.1.6
	HeaderFrom   string      // domain in From
	EnvelopeFrom string      // domain in MAIL FROM; empty for a bounce
	Signatures   []Signature // whether they align or not
	Sender       SPFResult   // of MAIL FROM
}

// Passes reports whether the messages pass DMARC.
func (r Record) Passes() bool { return r.DKIM == pass || r.SPF == pass }

const pass = "pass" // a result in DKIM and SPF of a Record

// Signature is the result of a DKIM signature.
type Signature struct {
	Domain   string `xml:"domain"`
	Selector string `xml:"selector"`
	Result   string `xml:"result"`
}

// SPFResult is the result of SPF. The Domain is empty if there is none.
type SPFResult struct{ Domain, Result string }
