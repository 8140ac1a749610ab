package daemontest

import (
	"fmt"
	"path/filepath"
	"testing"

	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
	"milterd/milter/store/redistest"
)

// Pair is two mail hosts of a site with a common Redis.
type Pair struct {
	Redis *redistest.Server
	Hosts [2]*Daemon
	Ready [2]string // URLs of their readiness pages
}

// StartPair starts a Redis that writes every change to its disk, and two daemons with admin sockets. The configuration of
// the second one has further lines.
func StartPair(t testing.TB, c Config, second string) *Pair {
	t.Helper()
	p := &Pair{Redis: redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")}
	c.DNS = dnstest.Start(t, World).Addr
	extra := c.Extra
	for i := range p.Hosts {
		listen := miltertest.Loopback() + ":8893"
		p.Ready[i] = "http://" + listen + "/readyz"
		c.Extra = fmt.Sprintf("admin: {listen: %q, socket: %q}\n", listen, filepath.Join(SocketDir(t), "admin.sock")) +
			fmt.Sprintf("store: {driver: redis, url: %q}\n", p.Redis.URL()) + extra
		if i > 0 {
			c.Extra += second
		}
		p.Hosts[i] = Start(t, c)
		miltertest.Eventually(t, "the daemon reaches Redis", func() bool { // on a loaded machine, not before it serves
			status, _ := Get(t, p.Ready[i])
			return status == 200
		})
	}
	return p
}
