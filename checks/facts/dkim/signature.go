package dkim

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/headers"
)

// signature is a DKIM-Signature field. It is undecided while its Status is empty.
type signature struct {
	Result
	field                int       // index in the header section
	rest                 string    // value of the field without that of b=
	agent                string    // domain of i=
	names                []string  // h=, in lower case
	relaxed, relaxedBody bool      // c=
	bodyHash             digest    // bh=
	signed               []byte    // b=
	created, expires     time.Time // t= and x=; zero if absent
	headerHash           digest    // of the message
}

// parseTags parses a tag-list, section 3.2. rest is the list without the value of b= and the white space around it. why is
// not empty if the syntax is wrong. Unknown tags are accepted, as are empty ones: key records have "a=b;;".
func parseTags(list string) (tags map[string]string, rest, why string) {
	tags, rest = make(map[string]string, 12), list
	pos := 0
	for spec := range strings.SplitSeq(list, ";") {
		raw, value, found := strings.Cut(spec, "=")
		name := strings.Trim(raw, fws)
		_, twice := tags[name]
		switch {
		case !found && name == "":
		case !found || name == "":
			return tags, rest, "a tag has no name or no value"
		case twice:
			return tags, rest, "a tag occurs twice"
		case name == "b":
			rest = list[:pos+len(raw)+1] + list[pos+len(spec):]
			fallthrough
		default:
			tags[name] = strings.Trim(value, fws)
		}
		pos += len(spec) + 1
	}
	return tags, rest, ""
}

const fws = " \t\r\n" // the bytes of folding white space, section 2.8

// strip removes all white space from a value in which it has no meaning.
var strip = strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace

// readSignature reads a field, section 3.5. The signature has a Status if it cannot be verified.
func readSignature(field int, value string) *signature {
	sig := &signature{field: field}
	if len(value) > 16<<10 {
		sig.decide(PermError, "the field has over 16 KiB")
		return sig
	}
	tags, rest, why := parseTags(value)
	sig.rest = rest
	sig.Domain, sig.Selector = domainName(tags["d"]), domainName(tags["s"])
	sig.Identity, sig.Algorithm, sig.Signature = strip(tags["i"]), strings.ToLower(strip(tags["a"])), strip(tags["b"])
	if _, ok := tags["i"]; !ok && sig.Domain != "" {
		sig.Identity = "@" + sig.Domain
	}
	if why == "" {
		why = sig.parse(tags)
	}
	sig.Signature = sig.Signature[:min(len(sig.Signature), 8)]
	switch _, limited := tags["l"]; {
	case why != "":
		sig.decide(PermError, why)
	case limited:
		sig.decide(Policy, "the signature has l=: it does not cover what is added to the body")
	case !slices.Contains(sig.names, "from"):
		sig.decide(Policy, "From is not signed")
	}
	return sig
}

func (sig *signature) decide(status Status, why string) { sig.Status, sig.Why = status, why }

// parse reads the tags of a signature. It returns what is wrong with them, section 6.1.1.
func (sig *signature) parse(tags map[string]string) string {
	for _, name := range []string{"v", "a", "b", "bh", "d", "h", "s"} {
		if _, ok := tags[name]; !ok {
			return name + "= is missing"
		}
	}
	var errSigned, errCreated, errExpires error
	bodyHash, errBodyHash := decodeBase64(strip(tags["bh"]))
	sig.signed, errSigned = decodeBase64(sig.Signature)
	sig.created, errCreated = parseTime(tags["t"])
	sig.expires, errExpires = parseTime(tags["x"])
	sig.Covered = strings.ToLower(strip(tags["h"]))
	sig.names = strings.SplitN(sig.Covered, ":", 101)
	header, body, _ := strings.Cut(strings.ToLower(strip(tags["c"])), "/")
	sig.relaxed, sig.relaxedBody = header == "relaxed", body == "relaxed"
	known := []string{"", "simple", "relaxed"}
	at := strings.LastIndexByte(sig.Identity, '@')
	sig.agent = domainName(sig.Identity[at+1:])
	_, errAddr := netip.ParseAddr(sig.Domain)
	switch {
	case tags["v"] != "1":
		return "v= is not 1"
	case sig.Domain == "" || errAddr == nil:
		return "d= is not a domain name"
	case checks.IsPublicSuffix(sig.Domain):
		return "d= is a public suffix"
	case sig.Selector == "":
		return "s= is not a selector"
	case at < 0 || !checks.Under(sig.agent, sig.Domain):
		return "i= is not in the domain of d="
	case sig.Algorithm == "rsa-sha1":
		return "a=rsa-sha1 is not secure" // RFC 8301 section 3.1
	case sig.Algorithm != "rsa-sha256" && sig.Algorithm != "ed25519-sha256":
		return "a= is not a known algorithm"
	case !slices.Contains(known, header) || !slices.Contains(known, body):
		return "c= is not a known canonicalisation"
	case tags["q"] != "" && !listed(tags["q"], "dns/txt"):
		return "q= has no known method"
	case errCreated != nil || errExpires != nil:
		return "t= or x= is not a time"
	case !sig.expires.IsZero() && !sig.expires.After(sig.created):
		return "x= is not after t="
	case errBodyHash != nil || len(bodyHash) != len(digest{}):
		return "bh= is not a hash of the algorithm"
	case errSigned != nil || len(sig.signed) == 0:
		return "b= is not base64"
	case len(sig.names) > 100:
		return "h= has over 100 names"
	}
	sig.bodyHash = digest(bodyHash)
	return ""
}

// decodeBase64 decodes base64string of section 2.10, whose padding is optional.
func decodeBase64(text string) ([]byte, error) {
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
}

// parseTime parses seconds since 1970. An absent time is zero. More than the 12 digits of the grammar stand for a time that never comes,
// as section 3.5 permits.
func parseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseUint(text, 10, 40) // 40 bits hold 12 digits
	if errors.Is(err, strconv.ErrRange) && strings.Trim(text, "0123456789") == "" {
		err = nil // seconds has the greatest value
	}
	return time.Unix(int64(seconds), 0), err
}

// listed reports whether a colon-separated list has a word, in any case.
func listed(list, word string) bool {
	for item := range strings.SplitSeq(list, ":") {
		if strings.EqualFold(strings.Trim(item, fws), word) {
			return true
		}
	}
	return false
}

// question returns the question for the key, section 3.6.2.
func (sig *signature) question() checks.Question { return checks.Ask(sig.KeyName(), dns.TypeTXT) }

// domainName returns a name as lower-case A-labels, or "" if it is none. RFC 8616 section 5 permits U-labels in d=, s= and
// i=. Underscores are accepted, as names in the DNS have them.
func domainName(name string) string {
	if !headers.IsASCII(name) {
		name = checks.ToALabels(name)
	}
	if !checks.IsHostName(name) || strings.HasSuffix(name, ".") {
		return ""
	}
	return strings.ToLower(name)
}
