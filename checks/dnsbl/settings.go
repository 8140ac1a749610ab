package dnsbl

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/checks"
)

// Settings configure the check.
type Settings struct {
	Zones  []Zone        `yaml:"zones" doc:"The lists to ask, all at once; in a reply the first that lists is named."`
	Health time.Duration `yaml:"health" doc:"How often the test points of each zone are asked for (RFC 5782 section 5)."`
}

// Zone is one list.
type Zone struct {
	Zone  string  `yaml:"zone" doc:"Its domain; a label that is an API key is hidden in replies and logs." example:"bl.example"`
	Codes []Codes `yaml:"codes" doc:"The answers that are a listing: addresses, ranges and networks in 127.0.0.0/8. 127.255.255.0/24, 127.0.0.1 and all other addresses never are." example:"[\"127.0.0.2-127.0.0.11\"]"`
	Query Query   `yaml:"query" doc:"What is looked up: client (the address, the default), helo (the HELO name), sender (the domain in MAIL FROM) or client_name (each confirmed name of the client)." one:"client helo sender client_name" example:"client"`
	Allow bool    `yaml:"allow" doc:"The zone lists good clients (only with query client or client_name): no greylisting and no callout for them."`
	Test  string  `yaml:"test" doc:"An address or a name that is always listed, for a zone without the ones of RFC 5782, 127.0.0.2 and TEST."`
}

// Query is what a zone is asked about.
type Query string

// The queries.
const (
	Client     Query = "client"      // the address
	Helo       Query = "helo"        // the name in HELO or EHLO
	Sender     Query = "sender"      // the domain of the reverse-path
	ClientName Query = "client_name" // each confirmed name of the client, see facts.Iprev
)

// stage returns the stage at which the subject is known.
func (q Query) stage() checks.Stage {
	switch q {
	case Helo:
		return checks.Helo
	case Sender:
		return checks.MailFrom
	default:
		return checks.Connect
	}
}

// minHealth is the shortest time between two tests. Lists may refuse clients that ask more often.
const minHealth = time.Minute

// Validate returns an error for zones that cannot work.
func (c Settings) Validate() error {
	var faults []error
	if c.Health < minHealth {
		faults = append(faults, fmt.Errorf("health: want %s or more", checks.FormatDuration(minHealth)))
	}
	for i, z := range c.Zones {
		for _, err := range z.faults() {
			faults = append(faults, fmt.Errorf("zones[%d]: %w", i, err))
		}
		if first := slices.IndexFunc(c.Zones[:i], z.repeats); first >= 0 && z.Zone != "" {
			faults = append(faults, fmt.Errorf("zones[%d]: the same as zones[%d]; put all its codes into one", i, first))
		}
	}
	return errors.Join(faults...)
}

// faults returns what is wrong with the zone. The errors are logged and have no key of its domain.
func (z Zone) faults() (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	switch {
	case z.Zone == "":
		fault("zone: want the domain of the list, such as bl.example.org")
	case !checks.IsHostName(z.Zone) || !strings.Contains(z.domain(), "."):
		fault("zone: %.80q is not a domain name; write it as bl.example.org", hideInMalformed(z.Zone))
	}
	if len(z.Codes) == 0 {
		fault(`codes: want the codes that are a listing, as the list documents them, such as ["127.0.0.2-127.0.0.11"]`)
	}
	if z.Allow && (z.Query == Helo || z.Query == Sender) {
		fault("allow: anybody can send a HELO name or a sender; a zone that vouches needs query: client or client_name")
	}
	if z.Test == "" {
		return faults
	}
	if z.query() == Client {
		if _, err := netip.ParseAddr(z.Test); err != nil {
			fault("test: %q is not an address, but the zone has addresses; write one that is always listed", z.Test)
		}
	} else if !checks.IsHostName(z.Test) {
		fault("test: %q is not a name, but the zone has names; write one that is always listed", z.Test)
	}
	return faults
}

// repeats reports whether the zone is asked the same as another, for the same purpose.
func (z Zone) repeats(other Zone) bool {
	return z.domain() == other.domain() && z.query() == other.query() && z.Allow == other.Allow
}

// domain returns the domain in lower case, without trailing dot.
func (z Zone) domain() string { return strings.ToLower(strings.TrimSuffix(z.Zone, ".")) }

// query returns the query, or its default.
func (z Zone) query() Query {
	if z.Query == "" {
		return Client
	}
	return z.Query
}
