package milter

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"milterd/checks"
)

const (
	upstreamWindow   = time.Hour
	upstreamSessions = 20   // fewest sessions in a window that show something
	maxUpstreams     = 1000 // addresses that are counted; a site has fewer private ones that send mail
)

// upstreams finds out whether the MTA reports the address of a proxy or of NAT in place of the clients' addresses: more
// than half of the sessions in an hour come from one private address. It is safe for concurrent use. The zero value has
// seen none.
type upstreams struct {
	mu     sync.Mutex
	began  time.Time // of the window
	total  int       // sessions in the window
	counts map[netip.Addr]int
	found  netip.Addr // address of more than half of the sessions; invalid if there is none
	logged bool
}

// add counts a session of a client that is not trusted. It returns a warning once.
func (u *upstreams) add(client netip.Addr, now time.Time) (warning string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.counts == nil || now.Sub(u.began).Abs() >= upstreamWindow {
		if u.total < upstreamSessions {
			u.found = netip.Addr{}
		}
		u.began, u.total, u.counts = now, 0, map[netip.Addr]int{}
	}
	u.total++
	if checks.IsPrivate(client) && (len(u.counts) < maxUpstreams || u.counts[client] > 0) {
		u.counts[client]++
	}
	if u.total < upstreamSessions {
		return ""
	}
	switch {
	case u.counts[client]*2 > u.total:
		u.found = client
	case u.counts[u.found]*2 <= u.total:
		u.found = netip.Addr{}
	}
	if !u.found.IsValid() || u.logged {
		return ""
	}
	u.logged = true
	return upstreamWarning(u.found)
}

// warning returns the warning while it holds, or "".
func (u *upstreams) warning() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.found.IsValid() {
		return ""
	}
	return upstreamWarning(u.found)
}

func upstreamWarning(client netip.Addr) string {
	return fmt.Sprintf("most sessions come from %s: the MTA does not pass on the clients' addresses, so no check of them works. Set "+
		"\"userland-proxy\": false (Docker), smtpd_upstream_proxy_protocol (a proxy), or smtpd_authorized_xclient_hosts (a mail server in "+
		"front that sends XCLIENT); see \"milterd doc attach\"", client)
}
