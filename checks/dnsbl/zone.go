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

// zone is one list with its health.
type zone struct {
	Zone   // settings, Query never empty
	domain string
	name   string         // domain as it is shown, without its key
	keys   *regexp.Regexp // the labels that are keys; nil: none
	health time.Duration  // between two tests
	log    *logrus.Entry

	mu      sync.Mutex // the fields below
	state   State
	since   time.Time     // of state
	why     string        // it is off
	proving bool          // it is off, but asked: it is taken to list the world, see listRun
	testing bool          // right now
	tested  time.Time     // when the last test began that came to a result; zero: never
	next    time.Time     // when to test again
	pause   time.Duration // before the next test while off
	silent  int           // lookups in a row without an answer
	run     listRun
	counts  Counts
}

func newZone(settings Zone, health time.Duration, log *logrus.Entry) *zone {
	z := &zone{Zone: settings, domain: settings.domain(), health: health, state: Untested}
	z.Query = settings.query()
	z.name, z.keys = hideKeys(z.domain)
	z.log = log.WithFields(logrus.Fields{"check": checkName, "zone": z.name, "query": string(z.Query)})
	return z
}

// Lengths of API keys in characters. Spamhaus gives 26, Abusix 32.
const (
	keyWithDigits = 16 // a label of so many letters and digits, with both, is a key
	keyOfLetters  = 24 // and so is one of so many letters: no word is that long
)

// hideKeys returns a domain without the labels that look like an API key, and an expression that finds those. The last two
// labels are what somebody registered, and no key.
func hideKeys(domain string) (shown string, keys *regexp.Regexp) {
	labels := strings.Split(domain, ".")
	var kept, secret []string
	for i, l := range labels {
		if i < len(labels)-2 && isKey(l) {
			secret = append(secret, regexp.QuoteMeta(l))
		} else {
			kept = append(kept, l)
		}
	}
	if secret == nil {
		return domain, nil
	}
	return strings.Join(kept, "."), regexp.MustCompile("(?i)" + strings.Join(secret, "|"))
}

func isKey(label string) bool {
	letters, digits := 0, 0
	for _, c := range []byte(label) {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'a' && c <= 'z':
			letters++
		default:
			return false
		}
	}
	return digits > 0 && letters > 0 && len(label) >= keyWithDigits || len(label) >= keyOfLetters
}

// hide takes the keys out of a text that names the zone.
func (z *zone) hide(text string) string {
	if z.keys == nil {
		return text
	}
	return z.keys.ReplaceAllString(text, "[key]")
}

// hideIn takes the keys out of an error, whose text has the question.
func (z *zone) hideIn(err error) error { return hidden{err, z.hide(err.Error())} }

type hidden struct {
	error
	text string
}

func (h hidden) Error() string { return h.text }
func (h hidden) Unwrap() error { return h.error }

// inUse tells whether the zone is asked about mail, and whether what it says of it counts.
func (z *zone) inUse() (asked, on bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.state == On || z.proving, z.state == On
}

// observe takes what became of a lookup for a client and returns the codes of a listing, empty if it is none. A zone that shows by this answer,
// or has shown meanwhile, that it cannot be trusted lists nobody.
func (z *zone) observe(now time.Time, client netip.Addr, f checks.LookupResult) (codes string) {
	r := read(f.Answer, z.Codes)
	z.mu.Lock()
	defer z.mu.Unlock()
	z.counts.Queries++
	listedWorld := z.run.listsWorld()
	fault := ""
	switch {
	case f.Err != nil:
		z.counts.Failures++
		if z.silent++; z.silent >= maxSilent {
			fault = "it does not answer: " + z.hide(f.Err.Error())
		}
	case r.fault != "":
		z.counts.Failures++
		fault = r.fault
	default:
		z.silent = 0
		codes = r.listed()
		if codes != "" {
			z.counts.Hits++
		}
		z.run.add(client, codes != "")
		if !listedWorld && z.run.listsWorld() {
			fault = listsTheWorld
		}
	}
	switch {
	case z.state != On && !z.proving:
		return "" // it was switched off meanwhile
	case fault != "":
		z.switchOff(now, fault)
		z.proving = fault == listsTheWorld
		return ""
	case z.proving:
		if !z.run.listsWorld() {
			z.switchOn(now)
		}
		return ""
	}
	return codes
}

// State says whether a zone is asked about mail.
type State string

// The states.
const (
	Untested State = "untested" // not asked: it was not tested yet
	On       State = "on"
	Off      State = "off" // not asked: Status.Why says why
)

// Counts are lookups for mail, not those of tests, since the check was made.
type Counts struct {
	Queries  uint64 `json:"queries"`
	Hits     uint64 `json:"hits"`     // listings
	Failures uint64 `json:"failures"` // no answer, or one that lists do not give
}

// Status is what an operator wants to know of a zone.
type Status struct {
	Zone   string    `json:"zone"` // without its key
	Query  Query     `json:"query"`
	Allow  bool      `json:"allow"`
	State  State     `json:"state"`
	Since  time.Time `json:"since"`  // of the state; zero while untested
	Why    string    `json:"why"`    // it is off: a sentence about "it"; holds no key
	Tested time.Time `json:"tested"` // when it was tested last; zero: never
	Counts
}

// Zones tells of every zone, in the order of the configuration.
func (c *Check) Zones() []Status {
	list := []Status{}
	for _, z := range c.zones {
		list = append(list, z.status())
	}
	return list
}

// Report implements checks.Maintainer.
func (c *Check) Report() []checks.Condition {
	var list []checks.Condition
	for _, st := range c.Zones() {
		list = append(list, checks.Condition{
			Name: fmt.Sprintf("%s (%s)", st.Zone, st.Query), State: string(st.State), Since: st.Since, Why: st.Why,
			Counts: map[string]uint64{"queries": st.Queries, "hits": st.Hits, "failures": st.Failures},
		})
	}
	return list
}

func (z *zone) status() Status {
	z.mu.Lock()
	defer z.mu.Unlock()
	return Status{z.name, z.Query, z.Allow, z.state, z.since, checks.Clean(z.why, 400), z.tested, z.counts}
}
