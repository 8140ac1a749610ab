package counters

import (
	"net/netip"
	"strings"
)

// subject is what is counted and blocked: a client or a network, or a client together with the domain of a sender.
type subject struct {
	client netip.Prefix
	sender string // see check.pairDomain; empty: all mail of the client
}

// The kinds of records of a subject.
const (
	blockKind = "block"
	levelKind = "level"
	tallyKind = "tally"
)

// keyPrefix returns what the keys of the records of a kind begin with.
func keyPrefix(kind string) string { return "counters:" + kind + ":" }

// key returns the key of a record. A client has no space in it.
func (s subject) key(kind string) string {
	key := keyPrefix(kind) + s.client.String()
	if s.sender != "" {
		key += " " + s.sender
	}
	return key
}

// parseSubject parses what follows the prefix in a key.
func parseSubject(text string) (subject, error) {
	client, sender, _ := strings.Cut(text, " ")
	p, err := netip.ParsePrefix(client)
	return subject{client: p, sender: sender}, err
}
