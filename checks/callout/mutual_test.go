package callout

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"milterd/checks"
)

type conn = net.Conn

// site is one of two sites that send mail to each other.
type site struct {
	domain string
	lab    *lab
	server *server
}

// enforced reports whether the profile strict refuses the mail.
func enforced(o outcome) bool {
	return strings.Contains(o.ids, "callout-rejected") || strings.Contains(o.ids, "callout-pending")
}

// twoSites returns a.example and b.example. Each has one mail host, one user, and an address in from.
func twoSites(t *testing.T, refuseNull bool) (a, b *site) {
	t.Helper()
	zone := `
a.example.      MX  10 mx.a.example.
mx.a.example.   A   192.31.196.1
b.example.      MX  10 mx.b.example.
mx.b.example.   A   192.31.196.2
`
	sites := map[string]*site{}
	for i, domain := range []string{"a.example", "b.example"} {
		s := &site{domain: domain, server: &server{users: []string{"alice@" + domain, "probe@" + domain}}}
		s.lab = newLab(t, zone, nil, func(c *Settings) { c.From = "probe@" + domain })
		s.lab.c.env.Site.LocalDomains = []string{domain}
		s.lab.c.env.Site.Hostname = "mx." + domain
		sites[fmt.Sprintf("192.31.196.%d", i+1)] = s
		s.lab.c.env.Dial = func(_ context.Context, _, to string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go sites[netip.MustParseAddrPort(to).Addr().String()].serve(theirs, refuseNull)
			return ours, nil
		}
	}
	return sites["192.31.196.1"], sites["192.31.196.2"]
}

// serve is an MTA that runs the check of the site before it replies to RCPT.
func (s *site) serve(conn net.Conn, refuseNull bool) {
	defer conn.Close()
	read := make([]byte, 1000)
	from, reply := "", "220 hello"
	for {
		if _, err := conn.Write([]byte(reply + "\r\n")); err != nil {
			return
		}
		n, err := conn.Read(read)
		if err != nil {
			return
		}
		line := strings.TrimSpace(string(read[:n]))
		reply = s.server.reply(line, false)
		if path, ok := strings.CutPrefix(line, "MAIL FROM:"); ok {
			from = strings.Trim(path, "<>")
			if refuseNull && from == "" {
				reply = "550 5.7.1 no null sender here"
			}
		}
		if strings.HasPrefix(line, "RCPT") {
			r := s.lab.session(from)
			r.Envelope.Rcpts[0] = checks.Recipient{Address: checks.ParseAddress(strings.Trim(strings.TrimPrefix(line, "RCPT TO:"), "<>"))}
			if o := s.lab.at(s.lab.c, checks.RcptTo, r); enforced(o) {
				reply = "450 4.1.7 " + o.ids
			}
		}
	}
}
