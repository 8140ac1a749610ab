package resolver

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// port is the one of the DNS, RFC 1035 section 4.2.
const port = 53

// addresses lists the servers to ask: at least one.
func (cfg Config) addresses() ([]netip.AddrPort, error) {
	if len(cfg.Servers) > 0 {
		return parseAll(cfg.Servers)
	}
	path := cfg.ResolvConf
	if path == "" {
		path = "/etc/resolv.conf"
	}
	file, err := dns.ClientConfigFromFile(path)
	// resolv.conf(5): without a name server, or without the file, it is the local machine.
	if errors.Is(err, fs.ErrNotExist) && cfg.ResolvConf == "" || err == nil && len(file.Servers) == 0 {
		return []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	// What the system's own resolver would skip must not stop us, unless nothing is left.
	good := slices.DeleteFunc(slices.Clone(file.Servers), func(text string) bool {
		_, err := parseServer(text)
		return err != nil
	})
	if len(good) == 0 {
		return nil, fmt.Errorf("dns: %s: no name server in it is an address: %q", path, file.Servers)
	}
	return parseAll(good)
}

// parseAll reads servers, leaving out repetitions: a second try at the same one would not be another server.
func parseAll(servers []string) ([]netip.AddrPort, error) {
	var addrs []netip.AddrPort
	seen := map[netip.AddrPort]bool{}
	for _, text := range servers {
		addr, err := parseServer(text)
		if err != nil {
			return nil, err
		}
		if !seen[addr] {
			addrs = append(addrs, addr)
		}
		seen[addr] = true
	}
	return addrs, nil
}

// parseServer reads an address with or without a port.
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
		return netip.AddrPort{}, fmt.Errorf("dns: server %q is not an address, nor address:port", text)
	}
	return netip.AddrPortFrom(addr, port), nil
}
