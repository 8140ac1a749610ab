package dmarc

import (
	"net/url"
	"slices"
	"strings"

	"milterd/checks"
)

// Policy is what a domain owner asks receivers to do with mail that fails, section 4.7 (p=).
type Policy uint8

// The policies, from the least to the most severe.
const (
	NoPolicy Policy = iota // "none"
	Quarantine
	Reject
)

var policyNames = [...]string{"none", "quarantine", "reject"}

// String returns the policy as written in a record.
func (p Policy) String() string { return policyNames[p] }

// weaker returns the next weaker policy, which t=y asks for.
func (p Policy) weaker() Policy { return max(p, 1) - 1 }

// Record is a DMARC policy record, section 4.7, with the values that apply: defaults stand for missing tags.
type Record struct {
	Text         string // as published, the strings joined; at most maxText bytes
	Domain       Policy // p=: for the domain itself
	Subdomains   Policy // sp=: for subdomains that exist
	Nonexistent  Policy // np=: for subdomains that do not exist
	StrictDKIM   bool   // adkim=s
	StrictSPF    bool   // aspf=s
	Testing      bool   // t=y: apply the next weaker policy
	PublicSuffix bool   // psd=y: the domain is a public suffix
	Organization bool   // psd=n: the domain is an organisational domain
	Reports      bool   // rua=: the domain may want aggregate reports, see Tree.Reporting
}

// maxText is the length of the text that a Record keeps, which is shown to people. With half of it, records with several report
// addresses are cut; a hostile record has 64 KiB.
const maxText = 1024 // bytes

// parseRecord parses the text of a TXT record. ok is false if it is no DMARC policy record, or one that counts as absent:
// p= is missing, or p=, sp= or np= is invalid, and no report is asked for (section 4.10.1). White space around "=" and ";" is
// ignored, as are unknown tags. A tag that occurs twice with different values is invalid.
func parseRecord(text string) (r Record, ok bool) {
	tags, ok := parseTags(text)
	if !ok {
		return Record{}, false
	}
	r = Record{
		Text:         strings.Clone(text[:min(len(text), maxText)]),
		StrictDKIM:   strings.EqualFold(tags["adkim"], "s"),
		StrictSPF:    strings.EqualFold(tags["aspf"], "s"),
		Testing:      strings.EqualFold(tags["t"], "y"),
		PublicSuffix: strings.EqualFold(tags["psd"], "y"),
		Organization: strings.EqualFold(tags["psd"], "n"),
		Reports:      tags["rua"] != "",
	}
	if r.setPolicies(tags) {
		return r, true
	}
	if !wantsReports(tags["rua"]) {
		return Record{}, false
	}
	r.Domain, r.Subdomains, r.Nonexistent = NoPolicy, NoPolicy, NoPolicy
	return r, true
}

// isRecord reports whether the text of a TXT record begins with the version tag, whose value is case-sensitive (section 4.8).
func isRecord(text string) bool {
	version, _, _ := strings.Cut(text, ";")
	name, value, _ := strings.Cut(version, "=")
	return strings.EqualFold(strings.TrimRight(name, whiteSpace), "v") && strings.Trim(value, whiteSpace) == "DMARC1"
}

const whiteSpace = " \t"

// ambiguous stands for the value of a tag that occurs with different values. No tag allows it.
const ambiguous = ";"

// maxParsed is the length of the text of which tags are read, in bytes. Half of it would do for real records, which have 1 KiB at most. A
// hostile one has 64 KiB, and a message may need 80 records.
const maxParsed = 4 << 10

// parseTags returns the tags of a record by lower-case name. ok is false if the text is no record.
func parseTags(text string) (tags map[string]string, ok bool) {
	if !isRecord(text) {
		return nil, false
	}
	tags = map[string]string{}
	for tag := range strings.SplitSeq(text[:min(len(text), maxParsed)], ";") {
		name, value, hasValue := strings.Cut(tag, "=")
		if !hasValue {
			continue
		}
		name, value = strings.ToLower(strings.Trim(name, whiteSpace)), strings.Trim(value, whiteSpace)
		if old, seen := tags[name]; seen && old != value {
			value = ambiguous
		}
		tags[name] = value
	}
	return tags, true
}

// setPolicies sets the policies. It reports whether the tags p=, sp= and np= are as section 4.10.1 requires.
func (r *Record) setPolicies(tags map[string]string) bool {
	var okP, okSP, okNP bool
	r.Domain, okP = parsePolicy(tags["p"])
	r.Subdomains, okSP = policyOf(tags, "sp", r.Domain)
	r.Nonexistent, okNP = policyOf(tags, "np", r.Subdomains)
	return okP && okSP && okNP
}

// policyOf returns the policy of a tag, or the default if the tag is missing.
func policyOf(tags map[string]string, tag string, byDefault Policy) (Policy, bool) {
	if value, has := tags[tag]; has {
		return parsePolicy(value)
	}
	return byDefault, true
}

// parsePolicy parses the value of p=, sp= or np=, which is case-insensitive (RFC 5234 section 2.3).
func parsePolicy(value string) (Policy, bool) {
	for i, name := range policyNames {
		if strings.EqualFold(value, name) {
			return Policy(i), true
		}
	}
	return NoPolicy, false
}

// wantsReports reports whether rua= has a valid URI.
func wantsReports(rua string) bool {
	for uri := range strings.SplitSeq(rua, ",") {
		uri, _, _ = strings.Cut(strings.Trim(uri, whiteSpace), "!") // the obsolete size limit, section 4.8
		u, err := url.Parse(uri)
		if err != nil || u.Scheme == "" {
			continue
		}
		local, domain, _ := strings.Cut(u.Opaque, "@")
		if !strings.EqualFold(u.Scheme, "mailto") || local != "" && domain != "" {
			return true
		}
	}
	return false
}

// textOf returns the text of the record in the answer to a TXT question, or "". Several records count as none, section 4.10 step 2.
func textOf(a checks.Answer) string {
	list := recordTexts(a)
	if len(list) != 1 {
		return ""
	}
	return list[0]
}

// recordTexts returns the texts in the answer to a TXT question that begin with the version tag.
func recordTexts(a checks.Answer) []string {
	return slices.DeleteFunc(checks.Texts(a), func(text string) bool { return !isRecord(text) })
}
