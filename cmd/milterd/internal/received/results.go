package received

import (
	"strings"

	"milterd/headers"
)

// added reports whether a field has results of a filter and names a host of the site. A filter adds its fields right
// below the Received field of its MTA.
func (s Site) added(field headers.Field) bool {
	switch {
	case field.Is("Authentication-Results"):
		host, _ := parseResults(field.Value)
		return s.owns(host)
	case field.Is("Received-SPF"):
		return s.owns(parseReceivedSPF(field.Value)["receiver"])
	}
	return false
}

// addResults adds the facts of a field with results that the Received field of the border host does not have.
func (s Site) addResults(field headers.Field, f *Facts) {
	if !s.added(field) {
		return
	}
	var values map[string]string
	var client, helo, sender, user string // names of values
	if field.Is("Received-SPF") {
		values = parseReceivedSPF(field.Value)
		client, helo, sender = "client-ip", "helo", "envelope-from"
	} else {
		_, values = parseResults(field.Value)
		client, helo, sender, user = "policy.iprev", "smtp.helo", "smtp.mailfrom", "smtp.auth"
		if _, ok := values[client]; !ok {
			client = "smtp.remote-ip"
		}
	}
	if a := parseAddr(values[client], false); f.Known&Client == 0 && !f.Local && a.IsValid() {
		f.Client, f.Known = a, f.Known|Client
	}
	if v := values[helo]; f.Known&Helo == 0 && v != "" {
		f.Helo, f.Known = v, f.Known|Helo
	}
	// Some programs write the domain only.
	if v := path(values[sender]); f.Known&Sender == 0 && strings.Contains(v, "@") {
		f.From, f.Known = v, f.Known|Sender
	}
	if v := values[user]; user != "" && v != "" && (f.User == "" || f.User == "unknown") {
		f.User = v
	}
}

// parseResults returns the authserv-id of an Authentication-Results field and the properties of all results, such as
// "smtp.mailfrom"; of several with one name, the first.
func parseResults(value string) (host string, properties map[string]string) {
	properties = map[string]string{}
	first := true
	for pos := 0; ; {
		kind, text, next := token(value, pos)
		pos = next
		switch {
		case kind == endOfText:
			return host, properties
		case kind == word && first:
			host = strings.TrimSuffix(text, ".")
		case kind == word:
			if name, _, _ := strings.Cut(text, "="); strings.Contains(name, ".") { // else a method with its result
				addPair(properties, text)
			}
		}
		first = false
	}
}

// parseReceivedSPF returns the key-value pairs of a Received-SPF field.
func parseReceivedSPF(value string) map[string]string {
	pairs := map[string]string{}
	for pos := 0; ; {
		kind, text, next := token(value, pos)
		pos = next
		switch kind {
		case endOfText:
			return pairs
		case word:
			addPair(pairs, text)
		}
	}
}

// addPair adds "name=value" if it is a pair and the name is not there yet.
func addPair(pairs map[string]string, text string) {
	name, value, ok := strings.Cut(text, "=")
	name = strings.ToLower(name)
	if _, there := pairs[name]; ok && !there {
		pairs[name] = strings.Trim(value, `"`)
	}
}
