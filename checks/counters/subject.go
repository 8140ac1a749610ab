package counters

import (
	"errors"
	"net/netip"
	"strings"
)

// subject is what is counted and blocked: a client or a network, or a client together with the domain of a sender.
type subject struct {
	client netip.Prefix
	sender string // see check.pairDomain; empty: all mail of the client
}

// ClientOf returns what counts as one client: an IPv4 address or an IPv6 /64. It is the zero Prefix if a is invalid.
func ClientOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, _ := a.Prefix(bits)
	return p
}

// The kinds of records of a subject.
const (
	blockKind = "block"
	levelKind = "level"
	tallyKind = "tally"
)

// key returns the key of a record.
func (s subject) key(kind string) string {
	if s.sender == "" {
		return keyPrefix(kind, false) + s.client.String()
	}
	return keyPrefix(kind, true) + s.client.String() + " " + s.sender
}

// keyPrefix returns what the keys of the records of a kind begin with: of clients, or of pairs of a client and a sender's domain.
func keyPrefix(kind string, pairs bool) string {
	if pairs {
		return "counters:pair:" + kind + ":"
	}
	return "counters:" + kind + ":"
}

// parseSubject parses what follows the prefix in a key.
func parseSubject(text string, pair bool) (subject, error) {
	client, sender, found := strings.Cut(text, " ")
	if found != pair || pair && sender == "" {
		return subject{}, errors.New("want a client, or a client and a domain")
	}
	p, err := netip.ParsePrefix(client)
	return subject{client: p, sender: sender}, err
}
