package dnsbl

import (
	"cmp"
	"context"
	"net/netip"
	"reflect"
	"runtime/debug"
	"sync"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
)

// A zone is in use while it is healthy. It begins untested, a good test switches it on, and one of these switches it off:
//
//   - a test that fails, see points;
//   - an answer that no list gives, see read;
//   - maxSilent lookups in a row without an answer;
//   - a run of listings that cannot be right, see listRun.
//
// While it is off, mail is not looked up in it; it is tested again after a pause that grows, and the first good test switches it
// on. Whether the zone or the way to it is broken makes no difference: it lists nobody. A zone that lists the world passes its
// tests nevertheless: it is asked about mail, but its listings count for nothing until one network is not listed, which switches
// it on.

const (
	// maxSilent is how many lookups in a row may fail. Each may hold mail for as long as patience.
	maxSilent = 5
	// firstPause is how long a zone is off at least. The pause doubles each time, up to the time between two tests, and is
	// forgotten when a zone passes a test while it is on: one that is healthy for its test points alone is off most of the time.
	firstPause = time.Minute
)

// Maintain implements checks.Maintainer. It tests the zones for which it is time: all at the beginning, then each every
// Settings.Health, those that are off sooner. Where nobody calls it, a session that comes begins it, and those after it have
// the result.
//
// The questions go through the resolver as all others. What it remembers of a test point is what it remembers of clients too: a
// list says by its TTL how old an answer may be.
func (c *Check) Maintain(ctx context.Context, now time.Time) {
	var wg sync.WaitGroup
	for _, z := range c.zones {
		if z.begin(now) {
			wg.Go(func() { z.test(ctx, c.env.DNS, now) })
		}
	}
	wg.Wait()
}

// Reload implements checks.Reloader: a zone whose settings are the same is as healthy as it was. One that lists the world would
// otherwise refuse a dozen honest mails after each reload. One that is off is tested again: the operator may have mended the way
// to it.
func (c *Check) Reload(old checks.Check) {
	was, ok := old.(*Check)
	if !ok {
		return
	}
	for _, z := range c.zones {
		for _, o := range was.zones {
			if reflect.DeepEqual(z.Zone, o.Zone) {
				z.inherit(o)
				break
			}
		}
	}
}

// inherit takes over the state of a zone, but for its counts.
func (z *zone) inherit(old *zone) {
	old.mu.Lock()
	defer old.mu.Unlock()
	z.mu.Lock()
	defer z.mu.Unlock()
	z.state, z.since, z.why, z.proving, z.silent = old.state, old.since, old.why, old.proving, old.silent
	z.tested, z.next, z.pause, z.run = old.tested, old.next, old.pause, old.run.clone()
	if next := z.tested.Add(z.health); z.state == On && next.Before(z.next) {
		z.next = next // it may be tested more often now
	}
	if z.state == Off && !z.proving {
		z.next = time.Time{}
	}
}

// testBehind tests behind the back of a session, which must not wait for it.
func (c *Check) testBehind(now time.Time) {
	for _, z := range c.zones {
		if z.begin(now) {
			go z.test(context.Background(), c.env.DNS, now)
		}
	}
}

// begin tells whether the caller is to test the zone now.
func (z *zone) begin(now time.Time) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.testing || now.Before(z.next) {
		return false
	}
	z.testing = true
	return true
}

// test asks for the test points and draws the conclusion.
func (z *zone) test(ctx context.Context, r checks.Resolver, now time.Time) {
	defer func() {
		v := recover() // in a goroutine of its own: it would end the daemon
		z.mu.Lock()
		defer z.mu.Unlock()
		z.testing = false
		if v != nil {
			z.log.WithField("stack", string(debug.Stack())).Errorf("panic in a test: %v", v)
			z.switchOff(now, "its test failed by a bug of milterd")
		}
	}()
	fault := z.fault(ctx, r)
	if ctx.Err() != nil {
		return // what failed is not the zone
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.tested = now
	if fault != "" {
		z.switchOff(now, fault)
		return
	}
	z.next = now.Add(z.health)
	switch {
	case z.state == On:
		z.pause = 0
	case z.run.listsWorld():
		z.proving, z.why, z.silent = true, listsTheWorld, 0
	default:
		z.switchOn(now)
	}
}

// switchOn notes that the zone is to be used. The caller has the lock.
func (z *zone) switchOn(now time.Time) {
	if z.state == Off {
		z.log.WithField("since", z.since.UTC().Format(time.RFC3339)).Info("zone switched on again")
	}
	z.state, z.since, z.why, z.silent, z.proving = On, now, "", 0, false
}

// switchOff notes that the zone is not to be used. The caller has the lock.
func (z *zone) switchOff(now time.Time, why string) {
	z.pause = min(max(firstPause, 2*z.pause), z.health)
	z.next = now.Add(z.pause)
	z.why, z.proving = why, false
	if z.state != Off {
		z.state, z.since = Off, now
		z.log.WithField("why", checks.Clean(why, 400)).Warn("zone switched off")
	}
}

// pair is two test points, RFC 5782 section 5: what every list has and what none has.
type pair struct{ listed, unlisted point }

// point is one of them: as it is written, and as it is asked for.
type point struct{ shown, labels string }

var (
	ipv4Points = pair{point{"127.0.0.2", "2.0.0.127"}, point{"127.0.0.1", "1.0.0.127"}}
	ipv6Points = pair{mapped("::ffff:7f00:2", '2'), mapped("::ffff:7f00:1", '1')}
	namePoints = pair{point{"TEST", "test"}, point{"INVALID", "invalid"}}
)

// mapped is an IPv4-mapped address of which package dns would make an IPv4 name.
func mapped(shown string, last byte) point {
	return point{shown, string(last) + ".0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0"}
}

// points are the pairs of which one must be right and none may show a fault. A list of addresses has those of IPv4, of IPv6 or
// both, and does not say which.
func (z *zone) points() []pair {
	switch {
	case z.Query != Client && z.Test != "":
		return []pair{{point{z.Test, z.Test}, namePoints.unlisted}}
	case z.Query != Client:
		return []pair{namePoints}
	case z.Test != "":
		if a, err := netip.ParseAddr(z.Test); err == nil {
			return []pair{{point{z.Test, reversed(a)}, ipv4Points.unlisted}}
		}
	}
	return []pair{ipv4Points, ipv6Points}
}

// fault asks for the test points and says what is wrong with the zone, if anything is.
func (z *zone) fault(ctx context.Context, r checks.Resolver) string {
	points := z.points()
	var questions []checks.Question
	for _, p := range points {
		for _, name := range []string{p.listed.labels, p.unlisted.labels} {
			questions = append(questions, checks.Ask(name+"."+z.domain, dns.TypeA))
		}
	}
	found := checks.LookupAll(ctx, r, questions...)
	lie, lack, right := "", "", false
	for i, p := range points {
		l, a := z.judge(p, found[2*i], found[2*i+1])
		right = right || l == "" && a == ""
		lie, lack = cmp.Or(lie, l), cmp.Or(lack, a)
	}
	if right {
		return lie
	}
	return cmp.Or(lie, lack)
}

// judge says what a pair shows of the zone: an answer that it must not give, and what is missing. A listed point may have any code:
// the operator may want only some of those that a list gives, and need not want that of the point.
func (z *zone) judge(p pair, yes, no checks.LookupResult) (lie, lack string) {
	listed, unlisted := read(yes.Answer, nil), read(no.Answer, nil)
	switch {
	case listed.fault != "" || unlisted.fault != "":
		return cmp.Or(listed.fault, unlisted.fault), ""
	case len(unlisted.codes) > 0:
		return "it lists " + p.unlisted.shown + ", which no list has (RFC 5782 section 5): so it may list everyone", ""
	case yes.Err != nil || no.Err != nil:
		return "", "it does not answer: " + z.hide(cmp.Or(yes.Err, no.Err).Error())
	case len(listed.codes) == 0:
		return "", "it does not list its test point " + p.listed.shown + " (RFC 5782 section 5): it is gone, or lists nothing"
	}
	return "", ""
}
