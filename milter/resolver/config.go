package resolver

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"github.com/sirupsen/logrus"

	"milterd/milter/log"
)

// Config configures a Resolver. The zero value uses the servers of the system.
type Config struct {
	// Servers are the addresses of the recursive servers, in the order of preference: "192.0.2.53", "192.0.2.53:5353",
	// "2001:db8::53", "[2001:db8::53]:53". If empty, they are those of resolv.conf(5), or 127.0.0.1 if the system has no
	// such file. Its other options are ignored: names here are absolute, and the usual time-out of 5 s is longer than an
	// MTA waits.
	Servers []string

	// Timeout is the time to wait for one answer. A question takes at most three times as long. 0 means 2 s.
	Timeout time.Duration

	// Now is the clock of the cache. nil means time.Now.
	Now func() time.Time

	// Log receives the panics of the resolver, and the servers that deny all names. nil means that they are not logged.
	Log *logrus.Entry

	attempts   int    // set by tests; 0 means defaultAttempts
	resolvConf string // set by tests; empty means that of the system
}

const (
	defaultTimeout = 2 * time.Second

	// defaultAttempts is the number of time-outs after which a question fails. After any other failure the next server is
	// asked at once, each server once.
	defaultAttempts = 3
)

// port is the port of DNS servers, RFC 1035 section 4.2.
const port = 53

// withDefaults returns cfg with its defaults filled in.
func (cfg Config) withDefaults() (Config, error) {
	if cfg.Timeout < 0 {
		return cfg, fmt.Errorf("dns: negative timeout: %v", cfg.Timeout)
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	cfg.attempts = cmp.Or(cfg.attempts, defaultAttempts)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = log.Discard()
	}
	return cfg, nil
}

// addresses returns the servers, at least one.
func (cfg Config) addresses() ([]netip.AddrPort, error) {
	if len(cfg.Servers) > 0 {
		return parseAll(cfg.Servers)
	}
	path := cmp.Or(cfg.resolvConf, "/etc/resolv.conf")
	file, err := dns.ClientConfigFromFile(path)
	// resolv.conf(5): without the file, or without a server in it, the server is the local machine.
	if errors.Is(err, fs.ErrNotExist) && cfg.resolvConf == "" || err == nil && len(file.Servers) == 0 {
		return []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	addrs, _ := parseAll(file.Servers) // skips invalid servers, as the resolver of the C library does
	if len(addrs) == 0 {
		return nil, fmt.Errorf("dns: %s: none of its name servers is an IP address: %q", path, file.Servers)
	}
	return addrs, nil
}

// parseAll returns the valid servers without duplicates, and the error of the first invalid one.
func parseAll(servers []string) (addrs []netip.AddrPort, first error) {
	for _, text := range servers {
		addr, err := parseServer(text)
		first = cmp.Or(first, err)
		if err == nil && !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs, first
}

// parseServer parses an address with or without a port.
func parseServer(text string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddrPort(text); err == nil && addr.Port() != 0 {
		return addr, nil
	}
	bare := text
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		bare = text[1 : len(text)-1]
	}
	addr, err := netip.ParseAddr(bare)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("dns: server %q is not an IP address or address:port", text)
	}
	return netip.AddrPortFrom(addr, port), nil
}
