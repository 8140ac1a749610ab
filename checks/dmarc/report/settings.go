package report

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"unicode"

	"milterd/checks"
)

// Settings configure the reports. The zero value sends none.
type Settings struct {
	From   string `yaml:"from" doc:"Address that the reports come from, and to which the domains reply; empty: no reports are sent. Its mail must pass DMARC." example:"postmaster@example.org"`
	Org    string `yaml:"org" doc:"Name of the organisation that reports; empty: the domain of from." example:"Example Org"`
	Submit string `yaml:"submit" doc:"Address and port of the mail server that takes the reports, without authentication."`
}

// domain returns the domain of From.
func (s Settings) domain() string { return checks.ParseAddress(s.From).Domain }

// Validate returns an error for reports that could not be sent.
func (s Settings) Validate() error {
	var faults []error
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf("reports: "+format, args...)) }
	from := checks.ParseAddress(s.From)
	switch {
	case s.From == "" && s.Org != "":
		add("org: no reports are sent without from; set from to an address of this site")
	case s.From == "":
	case from.Domain == "" || from.Local == "" || strings.ContainsAny(s.From, " <>\"\r\n"):
		add("from: %q is not an address; write it as user@domain", s.From)
	case checks.OrgDomain(from.Domain) == "":
		add("from: %q is no domain of an organisation, so no mail of it can pass DMARC; write an address of your domain", from.Domain)
	}
	if host, port, err := net.SplitHostPort(s.Submit); s.From != "" && (err != nil || host == "" || port == "") {
		add("submit: %q is not an address with a port, such as 127.0.0.1:25", s.Submit)
	}
	if strings.ContainsFunc(s.Org, unicode.IsControl) {
		add("org: %q has control characters; delete them", s.Org)
	}
	return errors.Join(faults...)
}
