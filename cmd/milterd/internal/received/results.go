package received

import (
	"strings"

	"milterd/headers"
)

// wrote tells whether a field tells results of a check that a host of the site has made: Authentication-Results (RFC 8601) and
// Received-SPF (RFC 7208 section 9.1) name it. A filter's fields stand right below the Received field of the MTA it works for.
func (s Site) wrote(field headers.Field) bool {
	switch {
	case field.Is("Authentication-Results"):
		r := ParseResults(field.Value)
		return s.Owns(r.ID)
	case field.Is("Received-SPF"):
		return s.Owns(parseReceivedSPF(field.Value)["receiver"])
	}
	return false
}

// results takes from a field what the Received field of the border did not tell.
func (s Site) results(field headers.Field, f *Facts) {
	var p map[string]string
	var client, helo, sender, user string
	switch {
	case !s.wrote(field):
		return
	case field.Is("Received-SPF"):
		p = parseReceivedSPF(field.Value)
		client, helo, sender = "client-ip", "helo", "envelope-from"
	default:
		p = ParseResults(field.Value).Properties
		client, helo, sender, user = "policy.iprev", "smtp.helo", "smtp.mailfrom", "smtp.auth"
		if _, ok := p[client]; !ok {
			client = "smtp.remote-ip"
		}
	}
	if a := parseAddr(p[client], false); f.Known&Client == 0 && !f.Local && a.IsValid() {
		f.Client, f.Known = a, f.Known|Client
	}
	if v := p[helo]; f.Known&Helo == 0 && v != "" {
		f.Helo, f.Known = v, f.Known|Helo
	}
	// Some programs tell the domain alone.
	if v, _ := path(p[sender]); f.Known&Sender == 0 && strings.Contains(v, "@") {
		f.From, f.Known = v, f.Known|Sender
	}
	if v := p[user]; user != "" && v != "" && (f.User == "" || f.User == "unknown") {
		f.User = v
	}
}

// Results is what an Authentication-Results field says.
type Results struct {
	ID         string            // authserv-id: who checked
	Properties map[string]string // of all results: "smtp.mailfrom"; the first of a kind
}

// ParseResults reads the value of an Authentication-Results field, as far as it has properties. Comments are left out.
func ParseResults(value string) Results {
	r := Results{Properties: map[string]string{}}
	for pos, n := 0, 0; ; n++ {
		kind, text, next := token(value, pos)
		pos = next
		switch {
		case kind == endOfText:
			return r
		case kind == word && n == 0:
			r.ID = strings.TrimSuffix(text, ".")
		case kind == word:
			r.add(text)
		}
	}
}

func (r Results) add(text string) {
	key, v, ok := strings.Cut(text, "=")
	key = strings.ToLower(key)
	if !ok || !strings.Contains(key, ".") {
		return // the method and its result
	}
	if _, there := r.Properties[key]; !there {
		r.Properties[key] = strings.Trim(v, `"`)
	}
}

// parseReceivedSPF reads the key-value pairs of a Received-SPF field.
func parseReceivedSPF(value string) map[string]string {
	pairs := map[string]string{}
	for pos := 0; ; {
		kind, text, next := token(value, pos)
		pos = next
		if kind == endOfText {
			return pairs
		}
		if kind != word {
			continue
		}
		if key, v, ok := strings.Cut(text, "="); ok {
			key = strings.ToLower(key)
			if _, there := pairs[key]; !there {
				pairs[key] = strings.Trim(v, `"`)
			}
		}
	}
}
