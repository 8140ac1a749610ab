package callout

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
)

const (
	// maxConnections is how many connections one callout may make. Half of it would try one host only; double lets one forged
	// sender cause eight connections.
	maxConnections = 4
	// maxAddrs is how many addresses of one host are tried.
	maxAddrs = 2
)

// prober is one callout.
type prober struct {
	*check
	flight      *flight
	question    question
	connections int   // left
	unresolved  error // why the addresses of a mail host are not known
}

// probe asks the mail hosts of a domain, in the order of RFC 5321 section 5.1, until one gives a final answer. The error means
// that the DNS or something on our side failed, or that a limit is reached; such a result is not stored.
func (c *check) probe(ctx context.Context, f *flight, q question) (answer, error) {
	// The flight has a Request of its own, as the session may end earlier.
	s := &checks.Session{Time: q.now, Envelope: checks.Envelope{MailFrom: checks.Address{Text: q.mailbox, Domain: q.domain}}}
	mx, err := facts.SenderMX(ctx, c.env, checks.NewRequest(s, checks.MailFrom))
	if err != nil {
		return answer{}, err
	}
	if mx.More { // a hostile zone can name the hosts of others
		return answer{Result: resultFailed, Step: atDNS, Reply: fmt.Sprintf("the domain names more than %d mail hosts", len(mx.Hosts))}, nil
	}
	if i := slices.IndexFunc(mx.Hosts, func(h facts.MXHost) bool { return c.skip.Has(h.Name) }); i >= 0 {
		return answer{Result: resultSkipped, Step: atDNS, Reply: mx.Hosts[i].Name + " is in skip"}, nil
	}
	p := &prober{check: c, flight: f, question: q, connections: maxConnections}
	best := answer{Result: resultFailed, Step: atDNS, Reply: "the domain takes no mail"}
	for _, h := range mx.Hosts {
		a, err := p.askHost(ctx, h)
		if err != nil {
			return answer{}, err
		}
		if a.isFinal() {
			return a, nil
		}
		// A temporary answer is kept for a shorter time than a failure, so the domain is asked again sooner.
		if best.Result != resultTemporary || a.Result == resultTemporary {
			best = a
		}
		if p.isSpent(ctx) {
			break
		}
	}
	return best, p.unresolved
}

// isSpent reports whether the callout may make no more connections.
func (p *prober) isSpent(ctx context.Context) bool { return p.connections == 0 || ctx.Err() != nil }

// askHost asks one mail host, at its first addresses, unless the store has an answer about the host.
func (p *prober) askHost(ctx context.Context, h facts.MXHost) (answer, error) {
	if p.Random {
		if a, ok, err := p.load(ctx, acceptAllPrefix+h.Name); ok || err != nil {
			return a, err
		}
	}
	if a, ok, err := p.load(ctx, refusedPrefix+h.Name); ok || err != nil {
		p.stats.addRefusal(a, p.Unusable)
		return a, err
	}
	addrs := slices.DeleteFunc(slices.Clone(h.Addrs), func(a netip.Addr) bool {
		return !checks.MayDial(a, p.env.Site.Addresses, p.AllowPrivate)
	})
	if len(addrs) == 0 {
		p.unresolved = cmp.Or(p.unresolved, h.Err)
	}
	a := answer{Result: resultFailed, Host: h.Name, Step: atConnect, Reply: "has no address that may be asked"}
	for _, addr := range addrs[:min(maxAddrs, len(addrs))] {
		if p.isSpent(ctx) {
			break
		}
		if err := p.takeTokens(ctx, h.Name, addr); err != nil {
			return answer{}, err
		}
		p.connections--
		p.stats.count(countConnections)
		a = p.ask(ctx, h.Name, addr)
		if a.isFinal() {
			break
		}
	}
	a.At = p.question.now.Unix()
	switch a.Result {
	case resultAcceptAll:
		p.save(ctx, acceptAllPrefix+h.Name, a, p.CatchAll)
	case resultRefused:
		p.stats.addRefusal(a, p.Unusable)
		p.save(ctx, refusedPrefix+h.Name, a, p.Unusable)
	}
	return a, nil
}

// takeTokens takes a token for one connection from three buckets: that of the host, that of the address, as a hostile zone can give one
// address a thousand names, and that of the site for the day.
//
// A bucket is a counter in the store, which begins with its first token and expires by itself. A bucket that is refilled
// continuously would need more than one atomic step, for hosts with a common store.
func (c *check) takeTokens(ctx context.Context, host string, addr netip.Addr) error {
	for _, bucket := range []struct {
		key, setting string
		limit        checks.RateLimit
	}{
		{ratePrefix + host, "per_mx", c.PerMX},
		{ratePrefix + checks.ClientOf(addr).String(), "per_mx", c.PerMX},
		{dailyKey, "daily", checks.RateLimit{N: int64(c.Daily), Per: 24 * time.Hour}},
	} {
		n, err := c.env.Store.Add(ctx, bucket.key, 1, bucket.limit.Per)
		if err != nil {
			return err
		}
		if n > bucket.limit.N {
			c.stats.count(countLimited)
			return fmt.Errorf("callout to %s: the limit %s is reached", host, bucket.setting)
		}
	}
	return nil
}
