package dnsbl

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// state is the state of a zone.
type state string

// The states. Conditions show suspended as off.
const (
	untested  state = "untested"  // not asked
	on        state = "on"        // asked
	suspended state = "suspended" // asked, but its listings do not count, see worldNetworks
	off       state = "off"       // not asked
)

// asked reports whether sessions look up their subjects in the zone.
func (s state) asked() bool { return s == on || s == suspended }

// reported returns the state as conditions show it.
func (s state) reported() state {
	if s == suspended {
		return off
	}
	return s
}

// worldNetworks is how many client networks, one after the other, are all listed by a zone that is taken to list the world although its
// test points are right. One network that is not listed ends that. Only the network of the client counts, whatever the zone is asked
// about: nothing that one client can vary affects the run.
//
// Before it is noticed, such a zone refuses the mail of one network less. Double would refuse twice the mail. With a zone that rightly
// lists every second client, half would be reached by chance about every 130 networks instead of every 8,000.
const worldNetworks = 12

// listsTheWorld is the reason for the state suspended.
var listsTheWorld = fmt.Sprintf("it lists the world: it listed the last %d client networks, one after the other. "+
	"It is still asked, but its listings do not count until there is a network that it does not list", worldNetworks)

// maxSilent is how many lookups in a row may fail before the zone is switched off. Each may delay mail by maxWait. Half of it
// would switch off a zone when a few packets are lost; double would delay twice as much mail.
const maxSilent = 5

// zone is one list and its state. It is safe for concurrent use.
type zone struct {
	Zone   // settings; Query is never empty
	domain string
	name   string         // domain as it is shown, without keys
	keys   *regexp.Regexp // the labels of domain that are keys; nil if there are none
	health time.Duration  // between two tests
	log    *logrus.Entry

	mu     sync.Mutex // guards the fields below
	state  state
	since  time.Time             // of state as it is shown
	why    string                // a sentence about "it", if state is off or suspended
	next   time.Time             // of the next test
	pause  time.Duration         // from the last switchOff to next; 0 after the zone has passed a test while it was on
	silent int                   // lookups in a row without an answer
	listed map[netip.Prefix]bool // client networks since the last one that is not listed; at most worldNetworks

	queries, hits, failures uint64 // lookups of sessions
}

func newZone(settings Zone, health time.Duration, log *logrus.Entry) *zone {
	z := &zone{Zone: settings, domain: settings.domain(), health: health, state: untested, listed: map[netip.Prefix]bool{}}
	z.Query = settings.query()
	z.keys = keysOf(z.domain)
	z.name = strings.ReplaceAll(hide(z.keys, z.domain), hidden+".", "")
	z.log = log.WithFields(logrus.Fields{"check": checkName, "zone": z.name, "query": string(z.Query)})
	return z
}

// current returns the state.
func (z *zone) current() state {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.state
}

// observe updates the state with the result of a lookup for a client. It returns the codes of a listing, or "" if the result is
// none or must not count.
func (z *zone) observe(now time.Time, client netip.Addr, result checks.LookupResult) (codes string) {
	r := read(result.Answer, z.Codes)
	z.mu.Lock()
	defer z.mu.Unlock()
	if !z.state.asked() { // switched off during the lookup
		return ""
	}
	z.queries++
	switch {
	case result.Err != nil:
		z.failures++
		if z.silent++; z.silent >= maxSilent {
			z.switchOff(now, "it does not answer: "+hide(z.keys, result.Err.Error()))
		}
		return ""
	case r.fault != "":
		z.failures++
		z.switchOff(now, r.fault)
		return ""
	}
	codes = r.listing
	if codes != "" {
		z.hits++
	}
	z.silent = 0
	z.count(client, codes != "")
	z.switchOn(now)
	if z.state != on {
		return ""
	}
	return codes
}

// count adds the answer about a client to the run of listed networks. A session without a client address is ignored. The caller holds mu.
func (z *zone) count(client netip.Addr, listed bool) {
	bits := 48 // what one site gets
	if client.Is4() {
		bits = 24
	}
	network, err := client.Prefix(bits)
	switch {
	case err != nil || !network.IsValid():
	case !listed:
		clear(z.listed)
	case len(z.listed) < worldNetworks:
		z.listed[network] = true
	}
}

// switchOn makes the state on, or suspended if the zone is taken to list the world. The caller holds mu.
func (z *zone) switchOn(now time.Time) {
	if len(z.listed) >= worldNetworks {
		z.set(now, suspended, listsTheWorld)
	} else {
		z.set(now, on, "")
	}
}

// switchOff makes the state off and sets the time of the next test. The caller holds mu.
func (z *zone) switchOff(now time.Time, why string) {
	z.pause = min(max(firstPause, 2*z.pause), z.health)
	z.next = now.Add(z.pause)
	z.set(now, off, why)
}

// set sets the state and logs a change. The caller holds mu.
func (z *zone) set(now time.Time, s state, why string) {
	old, since := z.state.reported(), z.since
	if s != z.state {
		z.silent = 0
	}
	z.state, z.why = s, why
	if s.reported() == old {
		return
	}
	z.since = now
	switch {
	case s.reported() == off:
		z.log.WithField("why", checks.Clean(why, 400)).Warn("zone switched off")
	case old == off:
		z.log.WithField("since", since.UTC().Format(time.RFC3339)).Info("zone switched on again")
	}
}

func (z *zone) condition() checks.Condition {
	z.mu.Lock()
	defer z.mu.Unlock()
	return checks.Condition{
		Name: fmt.Sprintf("%s (%s)", z.name, z.Query), State: string(z.state.reported()), Since: z.since, Why: checks.Clean(z.why, 400),
		Counts: map[string]uint64{"queries": z.queries, "hits": z.hits, "failures": z.failures},
	}
}
