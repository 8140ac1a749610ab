package helo

import (
	"errors"
	"net/netip"
	"strings"

	"milterd/headers"
)

// kind is the kind of an argument of HELO.
type kind uint8

const (
	malformed      kind = iota // none of the others
	bareAddress                // an address without brackets
	addressLiteral             // RFC 5321 section 4.1.3
	domain                     // RFC 5321 section 4.1.2
)

// argument is a parsed argument of HELO.
type argument struct {
	kind       kind
	fault      string     // malformed: the syntax error
	addr       netip.Addr // bareAddress, addressLiteral
	name       string     // domain: lower case, without trailing dot
	underscore bool       // domain: well formed except for "_"
}

// parse parses a name that is not empty, as RFC 5321 section 4.1.2 requires, with two exceptions whose meaning is clear: one
// trailing dot, and "_". An IPv6 address in brackets needs its tag (section 4.1.3).
func parse(helo string) argument {
	if helo[0] == '[' {
		addr, err := headers.ParseLiteral(helo)
		if fault := syntaxFault(err); fault != nil {
			return argument{kind: malformed, fault: fault.Cause}
		}
		return argument{kind: addressLiteral, addr: addr}
	}
	name := helo
	if len(name) > 1 {
		name = strings.TrimSuffix(name, ".")
	}
	if addr, ok := parseBareAddress(name); ok {
		return argument{kind: bareAddress, addr: addr}
	}
	err := headers.CheckDomain(name)
	if fault := syntaxFault(err); fault != nil {
		return argument{kind: malformed, fault: fault.Cause}
	}
	if strings.HasSuffix(name, ".") {
		return argument{kind: malformed, fault: "two dots at the end"}
	}
	return argument{kind: domain, name: strings.ToLower(name), underscore: err != nil}
}

// syntaxFault returns a syntax error that is not lax, or nil.
func syntaxFault(err error) *headers.SyntaxError {
	if fault, ok := errors.AsType[*headers.SyntaxError](err); ok && !fault.Lax {
		return fault
	}
	return nil
}

// parseBareAddress parses an address without brackets: 192.0.2.1, 2001:db8::1, IPv6:2001:db8::1.
func parseBareAddress(name string) (netip.Addr, bool) {
	if c := name[0]; (c < '0' || c > '9') && !strings.Contains(name, ":") {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(name)
	if err != nil {
		addr, err = headers.ParseLiteral("[" + name + "]") // accepts the tag of IPv6 and leading zeros
	}
	return addr.Unmap().WithZone(""), err == nil
}

// literal returns the address literal for the address.
func (a argument) literal() string {
	if a.addr.Is4() {
		return "[" + a.addr.String() + "]"
	}
	return "[IPv6:" + a.addr.String() + "]"
}
