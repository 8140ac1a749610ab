package config

import (
	"errors"
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
	Mode    fs.FileMode // permissions of a unix socket; 0: not given
	Group   string      // group of a unix socket, its name or number; empty: not given
	Given   bool        // by the operator: that it cannot be made is an error, else a warning
}

// String is the form of the configuration, without mode and group.
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

// ParseListener reads inet:PORT@HOST, inet6:PORT@HOST, unix:/path or local:/path. Given is true in what it returns.
func ParseListener(s string) (Listener, error) {
	kind, rest, ok := strings.Cut(s, ":")
	switch {
	case ok && (kind == "unix" || kind == "local"):
		return unixListener(rest)
	case ok && (kind == "inet" || kind == "inet6"):
		return inetListener(kind, rest)
	}
	return Listener{}, fmt.Errorf("%s is no socket: want inet:PORT@HOST, inet6:PORT@HOST or unix:/path%s", quote(s), socketHint(s))
}

func unixListener(file string) (Listener, error) {
	const longest = 107 // octets of sun_path in Linux, less its end
	switch {
	case !path.IsAbs(file):
		return Listener{}, fmt.Errorf("the path %s of the socket must be absolute", quote(file))
	case len(file) > longest:
		return Listener{}, fmt.Errorf("the path of the socket has %d octets, at most %d are possible", len(file), longest)
	case strings.HasSuffix(file, "/"):
		return Listener{}, fmt.Errorf("the path %s of the socket is a folder", quote(file))
	}
	return Listener{Network: "unix", Address: path.Clean(file), Given: true}, nil
}

func inetListener(kind, rest string) (Listener, error) {
	port, host, ok := strings.Cut(rest, "@")
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if !ok || host == "" {
		return Listener{}, fmt.Errorf("%s is no socket: want %s:PORT@HOST%s", quote(kind+":"+rest), kind, socketHint(rest))
	}
	if err := checkPort(port); err != nil {
		return Listener{}, err
	}
	network := map[string]string{"inet": "tcp4", "inet6": "tcp6"}[kind]
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Is4() != (network == "tcp4") {
			other := map[string]string{"inet": "inet6", "inet6": "inet"}[kind]
			return Listener{}, fmt.Errorf("%s is no address for %s; did you mean %s?", quote(host), kind, quote(other+":"+port+"@"+host))
		}
	} else if _, err := domainName(host); err != nil {
		return Listener{}, fmt.Errorf("%s is no host: %w", quote(host), err)
	}
	return Listener{Network: network, Address: net.JoinHostPort(host, port), Given: true}, nil
}

// checkPort accepts 0 too: the system chooses.
func checkPort(port string) error {
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%s is no port: want a number up to 65535", quote(port))
	}
	return nil
}

// socketHint turns what MTAs and other programs write into the form of milters.
func socketHint(s string) string {
	if path.IsAbs(s) {
		return "; did you mean " + quote("unix:"+s) + "?"
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || checkPort(port) != nil {
		return ""
	}
	kind := "inet"
	if strings.Contains(host, ":") {
		kind = "inet6"
	}
	return "; did you mean " + quote(kind+":"+port+"@"+host) + "?"
}

// readNode implements nodeReader: a text is the socket alone.
func (e *listenEntry) readNode(d *decoder, n *yaml.Node, path string) {
	*e = listenEntry{}
	if n.Kind == yaml.ScalarNode {
		d.scalar(n, reflect.ValueOf(&e.Socket).Elem(), path)
		return
	}
	d.structure(n, reflect.ValueOf(e).Elem(), path)
}

// listener resolves an entry. It returns false if it has reported why it cannot.
func (c *compiler) listener(e listenEntry, path string) (Listener, bool) {
	if c.broken[path] || c.broken[path+".socket"] {
		return Listener{}, false
	}
	if e.Socket == "" {
		c.fail(c.where(path), path, "the socket is missing")
		return Listener{}, false
	}
	l, err := ParseListener(e.Socket)
	if err != nil {
		if c.given(path + ".socket") {
			path += ".socket"
		}
		c.fail(c.where(path), path, "%s", err)
		return Listener{}, false
	}
	if l.Network != "unix" {
		for _, key := range []string{"mode", "group"} {
			if c.given(path + "." + key) {
				c.fail(c.keyAt[path+"."+key], path, "%s is for unix sockets only", key)
			}
		}
	}
	l.Mode, l.Group = fs.FileMode(e.Mode), e.Group
	l.Given = c.given("listen")
	return l, true
}

// listeners resolves the key listen.
func (c *compiler) listeners() []Listener {
	if len(c.file.Listen) == 0 {
		c.fail(c.where("listen"), "listen", "the list is empty, so that no MTA could connect")
	}
	var out []Listener
	seen := map[string]bool{}
	for i, e := range c.file.Listen {
		at := c.item("listen", i)
		l, ok := c.listener(e, at)
		if !ok {
			continue
		}
		if name := l.String(); seen[name] && !strings.HasPrefix(name, "inet:0@") && !strings.HasPrefix(name, "inet6:0@") {
			c.fail(c.where(at), at, "%s is given twice", quote(e.Socket))
		} else {
			seen[name] = true
		}
		out = append(out, l)
	}
	return out
}

// fileMode is octal permissions.
type fileMode fs.FileMode

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *fileMode) UnmarshalText(text []byte) error {
	const digits = 12 // as many bits as permissions have
	v, err := strconv.ParseUint(strings.TrimPrefix(string(text), "0o"), 8, digits)
	if err != nil || v > 0o777 {
		return errors.New(`want octal permissions such as "0660"`)
	}
	if v == 0 {
		return errors.New("nobody could connect with these permissions")
	}
	*m = fileMode(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (m fileMode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", uint32(m)), nil }
