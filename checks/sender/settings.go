package sender

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Settings configure the check. A limit of 0 is off.
type Settings struct {
	NewDomain     time.Duration `yaml:"new_domain" doc:"A sender domain registered less than this ago is new, by RDAP, which is asked in the background; 0: registries are not asked." example:"30d"`
	FirstSeen     time.Duration `yaml:"first_seen" doc:"A sender domain that this site saw for the first time less than this ago is new, once the site has watched for that long, and for 7d at least; 0: off." example:"24h"`
	RDAP          string        `yaml:"rdap" doc:"Base URL of an RDAP server that is asked about every domain, instead of those that IANA lists for the top-level domains; empty: those." example:"https://rdap.example.org/"`
	History       int           `yaml:"history" reason:"sender-history" doc:"How many 5yz refusals a sender without a delivery may have in the window, one per transaction, which are counted unless sender-history is off for everyone; 0: any number."`
	HistoryWindow time.Duration `yaml:"history_window" reason:"sender-history" doc:"How long refusals of a sender are counted, from the first one on, and how long a delivery outweighs them."`
}

// maxFirstSeen is well below seenFor.
const maxFirstSeen = 30 * 24 * time.Hour

// Validate returns an error for settings that cannot work.
func (c Settings) Validate() error {
	var faults []error
	if c.NewDomain < 0 || c.FirstSeen < 0 {
		faults = append(faults, errors.New("new_domain and first_seen must not be negative; 0 switches a limit off"))
	}
	if c.History < 0 {
		faults = append(faults, fmt.Errorf("history: %d is negative; write 0 for any number", c.History))
	}
	if c.FirstSeen > maxFirstSeen {
		faults = append(faults, errors.New("first_seen is too long; write 30d or less"))
	}
	if c.HistoryWindow < time.Minute {
		faults = append(faults, errors.New("history_window is too short; write 1m or more"))
	}
	if c.RDAP != "" {
		u, err := url.Parse(c.RDAP)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			faults = append(faults, fmt.Errorf("rdap: %q is not a base URL; write it as https://rdap.example.org/", c.RDAP))
		}
	}
	return errors.Join(faults...)
}
