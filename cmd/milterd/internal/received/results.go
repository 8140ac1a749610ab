package received

import (
	"strings"

	"milterd/headers"
)

// addResults adds the facts of a field with results of a filter that the Received field of the border host does not have. It returns
// false and adds nothing if the field is another one, or names no host of the site. A filter adds its fields right below the Received
// field of its MTA.
func (s Site) addResults(field headers.Field, f *Facts) bool {
	var host string
	var values map[string]string
	var client, helo, sender, user string // names of values
	switch {
	case field.Is("Authentication-Results"):
		host, values = parseResults(field.Value)
		client, helo, sender, user = "policy.iprev", "smtp.helo", "smtp.mailfrom", "smtp.auth"
		if _, ok := values[client]; !ok {
			client = "smtp.remote-ip"
		}
	case field.Is("Received-SPF"):
		values = parseReceivedSPF(field.Value)
		host, client, helo, sender = values["receiver"], "client-ip", "helo", "envelope-from"
	}
	if !s.owns(host) {
		return false
	}
	if a := parseAddr(values[client]); f.Known&Client == 0 && !f.Local && a.IsValid() {
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
	return true
}

// parseResults returns the authserv-id of an Authentication-Results field and the properties of all results, such as
// "smtp.mailfrom"; of several with one name, the first.
func parseResults(value string) (host string, properties map[string]string) {
	properties = map[string]string{}
	first := true
	for t := range tokens(value) {
		switch {
		case t.kind == word && first:
			host = strings.TrimSuffix(t.text, ".")
		case t.kind == word:
			if name, _, _ := strings.Cut(t.text, "="); strings.Contains(name, ".") { // else a method with its result
				addPair(properties, t.text)
			}
		}
		first = false
	}
	return host, properties
}

// parseReceivedSPF returns the key-value pairs of a Received-SPF field.
func parseReceivedSPF(value string) map[string]string {
	pairs := map[string]string{}
	for t := range tokens(value) {
		if t.kind == word {
			addPair(pairs, t.text)
		}
	}
	return pairs
}

// addPair adds "name=value" if it is a pair and the name is not there yet.
func addPair(pairs map[string]string, text string) {
	name, value, ok := strings.Cut(text, "=")
	name = strings.ToLower(name)
	if _, there := pairs[name]; ok && !there {
		pairs[name] = strings.Trim(value, `"`)
	}
}
