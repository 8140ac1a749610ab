package config

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Listener is a socket to listen on.
type Listener struct {
	Network string      // "tcp4", "tcp6" or "unix"
	Address string      // "host:port" or an absolute path
	Mode    fs.FileMode // permissions of a unix socket; 0 if not given
	Group   string      // name or number of the group of a unix socket; empty if not given
	Given   bool        // by the operator; if it is the default, a failure to listen is only a warning
}

// String returns the socket in the form of the configuration, without mode and group.
func (l Listener) String() string {
	if l.Network == "unix" {
		return "unix:" + l.Address
	}
	host, port, _ := net.SplitHostPort(l.Address)
	network := "inet"
	if l.Network == "tcp6" {
		network = "inet6"
	}
	return network + ":" + port + "@" + host
}

// ParseListener parses inet:PORT@HOST, inet6:PORT@HOST, unix:/path or local:/path. Given is true in the result. The error
// quotes s and says what to write.
func ParseListener(s string) (Listener, error) {
	kind, rest, ok := strings.Cut(s, ":")
	switch {
	case ok && (kind == "unix" || kind == "local"):
		return unixListener(rest)
	case ok && (kind == "inet" || kind == "inet6"):
		return inetListener(kind, rest)
	}
	return Listener{}, fmt.Errorf("%s is not a socket; %s", quote(s), socketHint(s, "inet:PORT@HOST, inet6:PORT@HOST or unix:/path"))
}

// maxSocketPath is the length of the longest path of a socket that Linux takes, in bytes.
const maxSocketPath = 107

// longSocket is the error of a path that is longer than maxSocketPath.
const longSocket = "%s has %d bytes; the path of a socket has at most %d"

func unixListener(file string) (Listener, error) {
	switch {
	case !path.IsAbs(file):
		return Listener{}, fmt.Errorf("%s is a relative path; write unix:/path", quote(file))
	case len(file) > maxSocketPath:
		return Listener{}, fmt.Errorf(longSocket, quote(file), len(file), maxSocketPath)
	case strings.HasSuffix(file, "/"):
		return Listener{}, fmt.Errorf("%s is a folder; add the name of the socket", quote(file))
	}
	return Listener{Network: "unix", Address: path.Clean(file), Given: true}, nil
}

// loopback has an address for each kind of an inet socket.
var loopback = map[string]string{"inet": "127.0.0.1", "inet6": "::1"}

func inetListener(kind, rest string) (Listener, error) {
	port, host, ok := strings.Cut(rest, "@")
	host = withoutBrackets(host)
	if !ok || host == "" {
		return Listener{}, fmt.Errorf("%s is not a socket; %s", quote(kind+":"+rest), socketHint(rest, kind+":PORT@HOST"))
	}
	if !isPort(port, 0) { // with 0, the system chooses a port
		return Listener{}, fmt.Errorf(notPort, quote(port))
	}
	network := map[string]string{"inet": "tcp4", "inet6": "tcp6"}[kind]
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Is4() != (network == "tcp4") {
			other := map[string]string{"inet": "inet6", "inet6": "inet"}[kind]
			return Listener{}, fmt.Errorf("%s is not an address for %s; did you mean %s?", quote(host), kind, quote(other+":"+port+"@"+host))
		}
	} else if _, err := domainName(host); err != nil {
		return Listener{}, fmt.Errorf("%s is neither an address nor a host name; write it as %s", quote(host), quote(kind+":"+port+"@"+loopback[kind]))
	}
	return Listener{Network: network, Address: net.JoinHostPort(host, port), Given: true}, nil
}

// notPort is the error of a port.
const notPort = "%s is not a port; write a number from 1 to 65535"

// isPort reports whether s is the number of a port, least or more.
func isPort(s string, least uint64) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n >= least
}

// withoutBrackets returns an address without the brackets around it.
func withoutBrackets(s string) string {
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		return s[1 : len(s)-1]
	}
	return s
}

// socketHint returns the remedy for a malformed socket. It recognises the forms of other programs. format is the one to
// use otherwise.
func socketHint(s, format string) string {
	if path.IsAbs(s) {
		return "did you mean " + quote("unix:"+s) + "?"
	}
	if isPort(s, 0) {
		return "did you mean " + quote("inet:"+s+"@127.0.0.1") + "?"
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || !isPort(port, 0) {
		return "write " + format
	}
	kind := "inet"
	if strings.Contains(host, ":") {
		kind = "inet6"
	}
	return "did you mean " + quote(kind+":"+port+"@"+host) + "?"
}

// readNode implements nodeReader.
func (e *listenEntry) readNode(d *decoder, n *yaml.Node, path string) {
	*e = listenEntry{}
	if n.Kind == yaml.ScalarNode {
		if n.Tag == "!!int" {
			n.Tag = "!!str" // a port alone: ParseListener says what to write
		}
		d.scalar(n, reflect.ValueOf(&e.Socket).Elem(), path)
		return
	}
	d.structure(n, reflect.ValueOf(e).Elem(), path)
}

// listener resolves an entry of the list. It reports a fault and returns false if it cannot.
func (c *compiler) listener(e listenEntry, path string) (Listener, bool) {
	if c.rejected[path+".socket"] {
		return Listener{}, false
	}
	if e.Socket == "" {
		c.failAt(path, "the socket is missing; add socket: unix:/path")
		return Listener{}, false
	}
	l, err := ParseListener(e.Socket)
	if err != nil {
		if c.given(path + ".socket") {
			path += ".socket"
		}
		c.failAt(path, "%s", err)
		return Listener{}, false
	}
	if l.Network != "unix" {
		for _, key := range []string{"mode", "group"} {
			if c.given(path + "." + key) {
				c.fail(c.whereKey(path+"."+key), path, "%s applies to unix sockets, and %s is none; delete it", key, quote(e.Socket))
			}
		}
	}
	l.Mode, l.Group = fs.FileMode(e.Mode), e.Group
	l.Given = c.given("listen")
	return l, true
}

// listeners resolves the key listen. It returns the sockets and the place of each.
func (c *compiler) listeners() ([]Listener, map[Listener]Problem) {
	if len(c.file.Listen) == 0 {
		c.failAt("listen", "the list is empty, and no MTA could connect; add a socket such as inet:8891@127.0.0.1")
	}
	var out []Listener
	places := map[Listener]Problem{}
	seen := map[string]bool{}
	for at, e := range items(c, "listen", c.file.Listen) {
		l, ok := c.listener(e, at)
		if !ok {
			continue
		}
		if name := l.String(); seen[name] && !strings.HasPrefix(name, "inet:0@") && !strings.HasPrefix(name, "inet6:0@") {
			c.failAt(at, "%s is given twice; delete one of them", quote(e.Socket))
		} else {
			seen[name] = true
		}
		out = append(out, l)
		places[l] = c.place(at)
	}
	return out, places
}

// fileMode has permissions, written in octal.
type fileMode fs.FileMode

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *fileMode) UnmarshalText(text []byte) error {
	const bits = 12
	v, err := strconv.ParseUint(strings.TrimPrefix(string(text), "0o"), 8, bits)
	if err != nil || v > 0o777 {
		return fmt.Errorf(`%s is not a mode; write octal permissions, such as "0660"`, quote(string(text)))
	}
	if v == 0 {
		return fmt.Errorf(`%s lets nobody connect; write permissions such as "0660"`, quote(string(text)))
	}
	*m = fileMode(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (m fileMode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", uint32(m)), nil }

// samePorts reports pages whose address other pages or the mail servers have.
func (c *compiler) samePorts(cfg *Config) {
	taken := map[string]string{} // key by address
	for _, l := range cfg.Listen {
		taken[l.Address] = "listen"
	}
	for _, p := range []struct{ key, address string }{{"explain.listen", cfg.Explain.Listen}, {"admin.listen", cfg.Admin.Listen}} {
		if p.address == "" || strings.HasSuffix(p.address, ":0") { // off, or a free port that the system chooses
			continue
		}
		if other := taken[p.address]; other != "" {
			c.warnAt(p.key, "%s is the address of %s too; choose another port", quote(p.address), other)
		}
		taken[p.address] = p.key
	}
}
