package callout

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
)

const (
	// maxConnections is how many connections one callout may make.
	maxConnections = 4
	// maxAddrs is how many addresses of one host are tried.
	maxAddrs = 2
)

// probe asks the mail hosts of a domain about an address, in the order of RFC 5321 section 5.1, until one gives a final
// answer. The error means that something of ours failed, or one of our limits was reached: nothing is remembered then.
func (c *check) probe(ctx context.Context, f *flight, q question) (answer, error) {
	// A session of our own: the fact belongs to one, but whoever wanted to know may have gone.
	s := &checks.Session{Time: q.now, Envelope: checks.Envelope{MailFrom: checks.Address{Text: q.mailbox, Domain: q.domain}}}
	mx, err := facts.SenderMX(ctx, c.env, checks.NewRequest(s, checks.MailFrom))
	if err != nil {
		return answer{}, err
	}
	if mx.More { // they could be anybody's
		return answer{Kind: isFailed, Stage: atDNS, Reply: fmt.Sprintf("the domain names more than %d mail hosts", len(mx.Hosts))}, nil
	}
	if slices.ContainsFunc(mx.Hosts, func(h facts.MXHost) bool { return c.skip.has(h.Name) }) {
		return answer{Kind: isSkipped}, nil
	}
	p := &prober{check: c, flight: f, question: q, left: maxConnections}
	last := answer{Kind: isFailed, Stage: atDNS, Reply: "the domain takes no mail"}
	for _, h := range mx.Hosts {
		a, err := p.host(ctx, h)
		if err != nil {
			return answer{}, err
		}
		// Of what was not final, a temporary answer gives hope and is forgotten first.
		if a.final() || last.Kind != isTemporary || a.Kind == isTemporary {
			last = a
		}
		if a.final() || p.spent(ctx) {
			break
		}
	}
	return last, nil
}

// prober is one callout.
type prober struct {
	*check
	flight   *flight
	question question
	left     int // connections
}

// spent tells whether it is time to be content with what there is.
func (p *prober) spent(ctx context.Context) bool { return p.left == 0 || ctx.Err() != nil }

// host asks one mail host, at its first addresses, unless it is known that there is no use.
func (p *prober) host(ctx context.Context, h facts.MXHost) (answer, error) {
	if p.Random {
		if a, ok, err := p.load(ctx, acceptAllKey+h.Name); ok || err != nil {
			return a, err
		}
	}
	if a, ok, err := p.load(ctx, closedKey+h.Name); ok || err != nil {
		p.tally.refusal(a, p.Unusable)
		return a, err
	}
	addrs := slices.DeleteFunc(slices.Clone(h.Addrs), func(a netip.Addr) bool { return !p.mayAsk(a) })
	if len(addrs) == 0 && h.Err != nil {
		return answer{}, h.Err
	}
	a := answer{Kind: isFailed, Host: h.Name, Stage: atConnect, Reply: "has no address that may be asked"}
	for _, addr := range addrs[:min(maxAddrs, len(addrs))] {
		if p.spent(ctx) {
			break
		}
		if err := p.permit(ctx, h.Name, addr); err != nil {
			return answer{}, err
		}
		p.left--
		p.tally.count(countConnections)
		a = p.ask(ctx, h.Name, addr)
		if a.final() {
			break
		}
	}
	a.At = p.question.now.Unix()
	switch a.Kind {
	case isAcceptAll:
		p.save(ctx, acceptAllKey+h.Name, a, p.CatchAll)
	case isRefused:
		p.tally.refusal(a, p.Unusable)
		p.save(ctx, closedKey+h.Name, a, p.Unusable)
	}
	return a, nil
}

// limitError says that one of our own limits is reached: nothing that the sender could do anything about.
type limitError struct{ host, setting string }

func (e *limitError) Error() string {
	return fmt.Sprintf("callout to %s: the limit %s is reached", e.host, e.setting)
}

// permit takes a token for one connection: of the host's bucket, of the address's, for a hostile zone can give one address a
// thousand names, and of the site's for the day.
//
// A bucket is a counter in the store that begins with its first token and ends by itself: it is filled all at once and not
// drop by drop, which keeps the same limits, for all daemons that share the store, in one step.
func (c *check) permit(ctx context.Context, host string, addr netip.Addr) error {
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64 // one network, RFC 4291 section 2.5.4
	}
	network, _ := addr.Prefix(bits)
	for _, bucket := range []struct {
		key, name string
		limit
	}{
		{rateKey + host, "per_mx", c.perMX},
		{rateKey + network.String(), "per_mx", c.perMX},
		{dailyKey, "daily", limit{c.Daily, 24 * time.Hour}},
	} {
		n, err := c.env.Store.Add(ctx, bucket.key, 1, bucket.per)
		if err != nil {
			return err
		}
		if n > int64(bucket.n) {
			return &limitError{host, bucket.name}
		}
	}
	return nil
}

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96") // an IPv4 address in its last four octets, RFC 6052 section 2.1
	sixTo4 = netip.MustParsePrefix("2002::/16")    // one in its second to fifth, RFC 3056
	teredo = netip.MustParsePrefix("2001::/32")    // two, RFC 4380
)

// mayAsk tells whether an address may be connected to. It comes from a stranger's zone, so it must be no way into our own
// network: a mail host is on the Internet, and is not us.
func (c *check) mayAsk(a netip.Addr) bool {
	a = a.WithZone("")
	switch {
	case !a.IsValid(), a.IsUnspecified(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return false
	case a.Is4In6(), sixTo4.Contains(a), teredo.Contains(a): // tunnels to an address that nobody needs to hide
		return false
	case nat64.Contains(a): // what DNS64 makes of an A record for hosts without IPv4, RFC 6147
		b := a.As16()
		return c.mayAsk(netip.AddrFrom4([4]byte(b[12:])))
	case slices.Contains(c.env.Site.Addresses, a):
		return false
	}
	return c.AllowPrivate || facts.GloballyReachable(a)
}
