package milter

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"milterd/checks"
)

const (
	proxyWindow   = time.Hour
	proxySessions = 20   // fewest sessions in a window that show something
	maxPrivate    = 1000 // addresses that are counted; a site has fewer private ones that send mail
)

// proxyDetector finds out whether the MTA reports the address of a proxy or of NAT in place of the clients' addresses: more
// than half of the sessions in an hour come from one private address. It is safe for concurrent use. The zero value has
// seen none.
type proxyDetector struct {
	mu     sync.Mutex
	began  time.Time // of the window
	total  int       // sessions in the window
	counts map[netip.Addr]int
	found  netip.Addr // address of more than half of the sessions; invalid if there is none
	logged bool
}

// add counts a session of a client that is not trusted. It returns a warning once.
func (d *proxyDetector) add(client netip.Addr, now time.Time) (warning string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.counts == nil || now.Sub(d.began).Abs() >= proxyWindow {
		if d.total < proxySessions {
			d.found = netip.Addr{}
		}
		d.began, d.total, d.counts = now, 0, map[netip.Addr]int{}
	}
	d.total++
	if checks.IsPrivate(client) && (len(d.counts) < maxPrivate || d.counts[client] > 0) {
		d.counts[client]++
	}
	if d.total < proxySessions {
		return ""
	}
	switch {
	case d.counts[client]*2 > d.total:
		d.found = client
	case d.counts[d.found]*2 <= d.total:
		d.found = netip.Addr{}
	}
	if d.logged {
		return ""
	}
	d.logged = d.found.IsValid()
	return d.text()
}

// warning returns the warning while it holds, or "".
func (d *proxyDetector) warning() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text()
}

// text returns the warning, or "" if there is none. The caller holds mu.
func (d *proxyDetector) text() string {
	if !d.found.IsValid() {
		return ""
	}
	return fmt.Sprintf("most sessions come from %s: the MTA does not pass on the clients' addresses, so no check of them works. Set "+
		"\"userland-proxy\": false (Docker), smtpd_upstream_proxy_protocol (a proxy), or smtpd_authorized_xclient_hosts (a mail server in "+
		"front that sends XCLIENT); see \"milterd doc attach\"", d.found)
}
