package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/resolver"
)

// loadConfig reads the configuration and prints what is wrong with it, warnings only if told to.
func loadConfig(path string, warnings bool, stderr io.Writer) (*config.Config, error) {
	cfg, problems := config.Load(path, all.Checks)
	for _, p := range problems {
		if warnings || !p.Warning {
			fmt.Fprintln(stderr, p)
		}
	}
	if problems.Err() != nil {
		return nil, errReported
	}
	return cfg, nil
}

func newResolver(c config.DNS) (*resolver.Resolver, error) {
	return resolver.New(resolver.Config{Servers: c.Servers, Timeout: c.Timeout})
}

// newPipeline makes the checks ready and puts them under the configured policy.
func newPipeline(cfg *config.Config, dns checks.Resolver, log *logrus.Entry, change func(*checks.Options)) (*checks.Pipeline, error) {
	instances, err := cfg.Build(checks.Env{
		DNS: dns,
		Site: checks.Site{
			Hostname:     cfg.Hostname,
			LocalDomains: cfg.LocalDomains,
			Addresses:    ownAddresses(),
		},
		Log: log,
	})
	if err != nil {
		return nil, err
	}
	opts := cfg.Policy
	change(&opts)
	return checks.New(instances, opts)
}

// ownAddresses are those of this machine that others can send from or to.
func ownAddresses() []netip.Addr {
	var own []netip.Addr
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil // helo-own-name then goes by names alone
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			own = append(own, p.Addr().Unmap())
		}
	}
	return own
}
