package dmarc

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"milterd/checks"
	"milterd/checks/dmarc/report"
	"milterd/headers"
)

// Settings configure the check.
type Settings struct {
	Trusted   []string        `yaml:"trusted" doc:"Clients that pass on mail of others, for all recipients: addresses, networks, and confirmed names, which include those below them."`
	ListMarks bool            `yaml:"list_marks" doc:"Whether the fields of a mailing list (List-Id with List-Post or List-Unsubscribe) count, if the client, SPF or DKIM shows that the message comes from its domain."`
	Relays    bool            `yaml:"relays" doc:"Whether clients count that are known to pass on mail of others, by the evidence of this site; milterd report forwarders shows them."`
	Ignore    []string        `yaml:"ignore" doc:"Author domains, with those below them, whose mail is known to fail: only auth-none applies to it."`
	Reports   report.Settings `yaml:"reports" doc:"Aggregate reports to the domains that ask for them and of which mail passes (RFC 9990), once a day."`
}

// Validate returns an error for entries that are neither networks nor domains, and for reports that could not be sent.
func (c Settings) Validate() error {
	_, errTrusted := parseTrusted(c.Trusted)
	_, errIgnore := parseIgnored(c.Ignore)
	return errors.Join(errTrusted, errIgnore, c.Reports.Validate())
}

func parseTrusted(entries []string) (checks.Forwarders, error) {
	var list checks.Forwarders
	var faults []error
	for _, text := range entries {
		if err := list.Add(text); err != nil {
			faults = append(faults, fmt.Errorf("trusted: %w", err))
		}
	}
	return list, errors.Join(faults...)
}

func parseIgnored(entries []string) ([]string, error) {
	var list []string
	var faults []error
	for _, text := range entries {
		if err := headers.CheckDomain(text); err != nil {
			faults = append(faults, fmt.Errorf("ignore: %q is not a domain: %w; write it as example.org", text, err))
		}
		list = append(list, strings.ToLower(strings.TrimSuffix(text, ".")))
	}
	return list, errors.Join(faults...)
}

// under reports whether a name is one of some domains, or below it.
func under(name string, domains []string) bool {
	return slices.ContainsFunc(domains, func(d string) bool { return checks.Under(name, d) })
}
