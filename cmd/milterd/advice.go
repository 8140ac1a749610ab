package main

import (
	"net/netip"
	"net/url"
	"os"
	"slices"

	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/sockets"
)

// noLocalDomains is the warning about an empty local_domains.
const noLocalDomains = "there are none, and forged senders and HELO names of this site are not noticed; write the domains for which this site receives mail"

// adviceOn returns warnings about what a configuration may do, and what its operator rarely means. file is its path; empty: the
// defaults.
func adviceOn(cfg *config.Config, file string) config.Problems {
	var list config.Problems
	warnAt := func(p config.Problem, format string, args ...any) {
		p.Warning = true
		list = append(list, p.Saying(format, args...))
	}
	warn := func(key, format string, args ...any) { warnAt(cfg.Place(key), format, args...) }
	if len(cfg.LocalDomains) == 0 {
		warn("local_domains", noLocalDomains)
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	if !slices.ContainsFunc(cfg.Policy.Trusted.Networks, func(n netip.Prefix) bool { return n.Contains(loopback) }) {
		warn("trusted.networks", `127.0.0.0/8 is missing, and mail from programs of this machine is checked; add 127.0.0.0/8 and "::1/128"`)
	}
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o004 != 0 {
		if key := passwordKey(cfg); key != "" {
			warn(key, "every user of this machine can read the password; run chmod 640 %s, with the group of the daemon", file)
		}
	}
	for _, l := range cfg.Listen {
		if why := sockets.Unreachable(l); why != "" {
			warnAt(cfg.PlaceOf(l), "Postfix cannot connect to %s: %s", l, why)
		}
		if why := sockets.WithoutFolder(l); why != "" {
			warnAt(cfg.PlaceOf(l), "%s: %s", l, why)
		}
	}
	return list
}

// passwordKey returns the key of a password in the configuration, or "".
func passwordKey(cfg *config.Config) string {
	if cfg.Admin.Password != "" {
		return "admin.password"
	}
	if u, err := url.Parse(cfg.Store.URL); err == nil && u.User != nil {
		if _, ok := u.User.Password(); ok {
			return "store.url"
		}
	}
	return ""
}
