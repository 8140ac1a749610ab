package helo

import (
	"errors"
	"net/netip"
	"strings"

	"milterd/headers"
)

// kind is what the argument of HELO is.
type kind uint8

const (
	malformed      kind = iota // nothing of what follows
	bareAddress                // an address without its brackets
	addressLiteral             // RFC 5321 section 4.1.3
	domain                     // RFC 5321 section 4.1.2
)

// argument is the argument of HELO, understood.
type argument struct {
	kind       kind
	fault      string     // malformed: what is wrong
	addr       netip.Addr // bareAddress, addressLiteral
	name       string     // domain: lower case, without the dot at its end
	underscore bool       // domain: well formed but for "_"
}

// parse understands a name that is not empty. It does as RFC 5321 section 4.1.2 says, and takes three things that it does
// not have, because their meaning is plain: one dot at the end, which master files have; "_", noted; and
// "[2001:db8::1]" for "[IPv6:2001:db8::1]", which Java's mail library sends.
func parse(helo string) argument {
	if helo[0] == '[' {
		addr, err := headers.ParseLiteral(helo)
		if fault := hard(err); fault != nil {
			return argument{fault: fault.Cause}
		}
		return argument{kind: addressLiteral, addr: addr}
	}
	name := helo
	if len(name) > 1 {
		name = strings.TrimSuffix(name, ".")
	}
	if addr, ok := parseBare(name); ok {
		return argument{kind: bareAddress, addr: addr}
	}
	err := headers.CheckDomain(name)
	if fault := hard(err); fault != nil {
		return argument{fault: fault.Cause}
	}
	if strings.HasSuffix(name, ".") {
		return argument{fault: "two dots at the end"}
	}
	return argument{kind: domain, name: strings.ToLower(name), underscore: err != nil}
}

// hard is the fault of a text, if it is one that leaves the text without a meaning.
func hard(err error) *headers.SyntaxError {
	if fault, ok := errors.AsType[*headers.SyntaxError](err); ok && !fault.Lax {
		return fault
	}
	return nil
}

// parseBare reads an address without brackets: 192.0.2.1, 2001:db8::1, IPv6:2001:db8::1.
func parseBare(name string) (netip.Addr, bool) {
	if c := name[0]; (c < '0' || c > '9') && !strings.Contains(name, ":") {
		return netip.Addr{}, false // by far the most
	}
	addr, err := netip.ParseAddr(name)
	if err != nil {
		// With the tag of IPv6 or zeros in front, as literals may have them.
		addr, err = headers.ParseLiteral("[" + name + "]")
	}
	return addr.Unmap().WithZone(""), err == nil
}

// literal is the address literal that a bare address should have been.
func (a argument) literal() string {
	if a.addr.Is4() {
		return "[" + a.addr.String() + "]"
	}
	return "[IPv6:" + a.addr.String() + "]"
}
