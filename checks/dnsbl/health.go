package dnsbl

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
)

// firstPause is how long a zone is off at least before it is tested again. The pause doubles with each failure, up to the time
// between two tests, until the zone passes a test while it is on. So a zone of which only the test points are right is off most of
// the time. Without the doubling, it would be switched off every minute, with a warning in the log.
const firstPause = time.Minute

// Maintain implements checks.Maintainer. It tests the zones that are due: all of them at the first call, then each every
// Settings.Health, and zones that are off earlier.
//
// The questions go through the cache of the resolver, as those of sessions do: the TTL of a list says how old an answer may be.
func (c *check) Maintain(ctx context.Context, now time.Time) {
	var wg sync.WaitGroup
	for _, z := range c.zones {
		if z.isDue(now) {
			wg.Go(func() { z.test(ctx, c.env.DNS, now) })
		}
	}
	wg.Wait()
}

func (z *zone) isDue(now time.Time) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return !now.Before(z.next)
}

// test asks for the test points and sets the state.
func (z *zone) test(ctx context.Context, r checks.Resolver, now time.Time) {
	fault := z.askTestPoints(ctx, r)
	if ctx.Err() != nil {
		return // the failure is not the zone's
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if fault != "" {
		z.switchOff(now, fault)
		return
	}
	z.next = now.Add(z.health)
	if z.state == on {
		z.pause = 0
		return
	}
	z.switchOn(now)
}

// pair is two test points, RFC 5782 section 5: every list has the first and no list the second.
type pair struct{ listed, unlisted string }

// points returns the pairs of the zone. One of them must be right, and none may have a wrong answer: a list of addresses has the
// points of IPv4, of IPv6 (IPv4-mapped addresses) or both.
func (z *zone) points() []pair {
	pairs := []pair{{listed: "TEST", unlisted: "INVALID"}}
	if z.Query == Client {
		pairs = []pair{{listed: "127.0.0.2", unlisted: "127.0.0.1"}, {listed: "::ffff:7f00:2", unlisted: "::ffff:7f00:1"}}
	}
	if z.Test != "" {
		return []pair{{listed: z.Test, unlisted: pairs[0].unlisted}}
	}
	return pairs
}

// questionFor returns the question for a test point.
func (z *zone) questionFor(point string) checks.Question {
	labels := point
	if a, err := netip.ParseAddr(point); err == nil && z.Query == Client {
		labels = reversed(a)
	}
	return checks.Ask(labels+"."+z.domain, dns.TypeA)
}

// askTestPoints asks for the test points. It returns what is wrong with the zone, a sentence about "it", or "".
func (z *zone) askTestPoints(ctx context.Context, r checks.Resolver) string {
	pairs := z.points()
	var questions []checks.Question
	for _, p := range pairs {
		questions = append(questions, z.questionFor(p.listed), z.questionFor(p.unlisted))
	}
	results := checks.LookupAll(ctx, r, questions...)
	missing, passed := "", false
	for i, p := range pairs {
		wrong, lacks := z.judgePair(p, results[2*i], results[2*i+1])
		if wrong != "" {
			return wrong
		}
		passed = passed || lacks == ""
		missing = cmp.Or(missing, lacks)
	}
	if passed {
		return ""
	}
	return missing
}

// judgePair returns what is wrong with the answers for a pair, or what they lack. The listed point may have any code, as the settings
// may have only some codes of the list.
func (z *zone) judgePair(p pair, first, second checks.LookupResult) (wrong, lacks string) {
	listed, unlisted := read(first.Answer, nil), read(second.Answer, nil)
	switch {
	case listed.fault != "" || unlisted.fault != "":
		return cmp.Or(listed.fault, unlisted.fault), ""
	case unlisted.codes:
		return "it lists " + p.unlisted + ", which no list should have (RFC 5782 section 5), so it may list everyone", ""
	case first.Err != nil || second.Err != nil:
		return "", "it does not answer: " + hide(z.keys, cmp.Or(first.Err, second.Err).Error())
	case !listed.codes:
		return "", "it does not list its test point " + p.listed + " (RFC 5782 section 5): it is closed, or lists nothing"
	}
	return "", ""
}

// Report implements checks.Maintainer.
func (c *check) Report() []checks.Condition {
	var list []checks.Condition
	for _, z := range c.zones {
		list = append(list, z.condition())
	}
	return list
}

// Reload implements checks.Reloader. A zone with the same settings keeps its state: one that lists the world would otherwise
// refuse mail of a dozen networks after each reload.
func (c *check) Reload(old checks.Check) {
	former, ok := old.(*check)
	if !ok {
		return
	}
	for _, z := range c.zones {
		for _, o := range former.zones {
			if reflect.DeepEqual(z.Zone, o.Zone) {
				z.copyState(o)
				break
			}
		}
	}
}

// copyState copies the state of another zone, except its counts. A zone that is off is tested at once, as the operator may have
// repaired the way to it.
func (z *zone) copyState(old *zone) {
	old.mu.Lock()
	defer old.mu.Unlock()
	z.mu.Lock()
	defer z.mu.Unlock()
	z.state, z.since, z.why, z.silent = old.state, old.since, old.why, old.silent
	z.pause, z.listed = old.pause, maps.Clone(old.listed)
	if z.state.asked() {
		z.next = old.next.Add(z.health - old.health)
	}
}
