package callout

import (
	"errors"
	"fmt"
	"time"

	"milterd/checks"
)

// Settings configure the check.
type Settings struct {
	Port         int              `yaml:"port" doc:"TCP port of the mail hosts; 25 for all hosts of the Internet."`
	From         string           `yaml:"from" doc:"Sender address for hosts that refuse the null reverse-path, which is always tried first; empty: such hosts are not asked further." example:"callout@example.org"`
	Random       bool             `yaml:"random" doc:"Whether a random address is asked about first: a host that accepts it accepts every address, so its answers prove nothing."`
	Domains      []string         `yaml:"domains" doc:"Sender domains that are asked: a domain, or .domain with all below it; empty: every domain." example:"[example.net, .example.com]"`
	Skip         []string         `yaml:"skip" doc:"Sender domains and mail hosts that are never asked: a name, or .domain with all below it." example:"[.example.edu]"`
	AllowPrivate bool             `yaml:"allow_private" doc:"Whether mail hosts with loopback, private or otherwise not globally reachable addresses are asked too."`
	PerMX        checks.RateLimit `yaml:"per_mx" doc:"How often one mail host, and one of its addresses, is connected to for all domains together, as a number per s, m, h or d."`
	Daily        int              `yaml:"daily" doc:"How many connections all callouts of this site may make in 24h."`
	Good         time.Duration    `yaml:"good" doc:"How long an accepted address is remembered; one still in use is asked about again, in the background, before that."`
	Bad          time.Duration    `yaml:"bad" doc:"How long a rejected address is remembered."`
	CatchAll     time.Duration    `yaml:"catchall" doc:"How long a mail host that accepts every address is remembered and not asked."`
	Unusable     time.Duration    `yaml:"unusable" doc:"How long a domain whose mail hosts cannot be asked, and a mail host that refuses callouts, are not asked."`
}

// Validate returns an error for settings that cannot work, or that would ask the same host again and again.
func (c Settings) Validate() error {
	var faults []error
	if c.Port < 1 || c.Port > 65535 {
		faults = append(faults, fmt.Errorf("port: %d is not a TCP port; write a number from 1 to 65535", c.Port))
	}
	if from := checks.ParseAddress(c.From); c.From != "" && (from.Domain == "" || mailbox(from) == "") {
		faults = append(faults, fmt.Errorf("from: %q is not an address; write it as user@domain", c.From))
	}
	if c.Daily < 1 {
		faults = append(faults, errors.New("daily: want 1 or more; to switch callouts off, set the actions of callout-* to off"))
	}
	for _, ttl := range []struct {
		key string
		time.Duration
	}{{"good", c.Good}, {"bad", c.Bad}, {"catchall", c.CatchAll}, {"unusable", c.Unusable}} {
		if ttl.Duration < time.Minute {
			faults = append(faults, fmt.Errorf("%s: %s is too short; write 1m or more", ttl.key, checks.FormatDuration(ttl.Duration)))
		}
	}
	_, errDomains := nameSet("domains", c.Domains)
	_, errSkip := nameSet("skip", c.Skip)
	return errors.Join(append(faults, errDomains, errSkip)...)
}

// nameSet returns the names of a setting.
func nameSet(key string, entries []string) (checks.NameSet, error) {
	var set checks.NameSet
	for _, e := range entries {
		if err := set.Add(e); err != nil {
			return set, fmt.Errorf("%s: %w", key, err)
		}
	}
	return set, nil
}
