package checks

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	// maxVotes is how many networks have a vote: enough that a few with wrong clocks do not matter, and so few that on a small
	// site they are of the last hours.
	maxVotes = 20
	// enoughVotes is how many must agree before they prove anything, for the clock or against it.
	enoughVotes = 5
	// sameTime is how far two times may be apart that agree: mail takes a while, and waits for minutes where it is greylisted. It is
	// less than any limit that a date should have.
	sameTime = time.Hour
	// jumped is how far the clock may have moved against the time that has passed. NTP corrects less than a second in an hour, by
	// making the clock slower or faster; more is a step.
	jumped = time.Minute
	// tellEvery is how long after having told of a wrong clock it is told again.
	tellEvery = 10 * time.Minute
)

// earliest is before this program was written: a clock that reads less has never been set.
var earliest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Clock knows how far the time of the sessions is to be believed. Where it is wrong, what is refused for a date is refused by
// mistake; and there is nobody to ask for the time but the mail itself.
//
// Each network of clients has a vote, the last Date that it sent, and the last 20 that voted count. Votes agree if they lie within
// an hour of where the time would be. So:
//
//   - The clock is confirmed if 5 votes agree with it, and no more than that agree on another time. Dates that are wrong in many
//     ways do no harm: they do not agree with each other.
//   - It is disproved if 5 votes agree on another time, and fewer with the clock. Nothing is refused for a date then. Who sends
//     bogus dates from many networks gets no more than that.
//   - It is doubted if two votes agree on another time, and no more than two with the clock; if it was moved by more than a
//     minute since the start, against a clock that never jumps; or if it reads a year in which this program did not exist.
//     Refusals are temporary then: they turn into permanent ones when the mail confirms the clock, and end when it disproves it.
//   - Otherwise nothing is known. The clock is taken for right: most are, and one vote against it is a bogus date rather.
//
// Votes are noted by the clock that never jumps. So they hold when the other one is moved: what they said about it before says at
// once that it is wrong now, and that it is right again when it has been put back.
//
// It is safe for concurrent use. A nil Clock is always confirmed: in a trial the time is given.
type Clock struct {
	start   int64 // what the clock read when elapsed was 0, in seconds since 1970
	elapsed func() time.Duration
	log     *logrus.Entry

	mu    sync.Mutex
	votes []vote // the last one is the newest
	found judgement
	told  time.Duration // by elapsed, when the next line in the log may be written
}

// judgement is what was found out last.
type judgement struct {
	trust           Trust
	near, elsewhere int   // votes
	off             int64 // how far those elsewhere are ahead of the clock, in seconds
	moved           int64 // how far the clock was moved
}

// vote is the time at which a client's clock was at the start of ours, if it is right: in seconds since then.
type vote struct {
	network netip.Prefix
	ahead   int64
}

// Trust is how far a clock is to be believed.
type Trust uint8

// The degrees of trust.
const (
	Confirmed   Trust = iota // the mail agrees
	Unconfirmed              // nothing speaks for it, nor against it
	Doubted                  // something speaks against it: what depends on it is refused for now only
	Disproved                // the mail agrees on another time
)

// String returns one word.
func (t Trust) String() string {
	return [...]string{"confirmed", "unconfirmed", "doubted", "disproved"}[t]
}

// ClockState is what is known of a Clock.
type ClockState struct {
	Trust     Trust
	Why       string // of doubt: a clause; otherwise empty
	Near      int    // votes that agree with the clock
	Elsewhere int    // votes that agree on another time
}

// NewClock makes a Clock. now is what the clock reads, elapsed the time that passes from now on, by a clock that never jumps. log is
// told when the clock is disproved.
func NewClock(now time.Time, elapsed func() time.Duration, log *logrus.Entry) *Clock {
	return &Clock{start: now.Unix(), elapsed: elapsed, log: log, found: judgement{trust: Unconfirmed}}
}

// Vote notes the Date that a network of clients has sent at a time.
func (c *Clock) Vote(network netip.Prefix, date, now time.Time) {
	if c == nil || !network.IsValid() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.votes = slices.DeleteFunc(c.votes, func(v vote) bool { return v.network == network })
	c.votes = append(c.votes, vote{network, c.since(date)})
	c.votes = c.votes[max(0, len(c.votes)-maxVotes):]
	c.judge(now)
}

// Trust tells how far a time is to be believed that the clock reads now.
func (c *Clock) Trust(now time.Time) Trust {
	if c == nil {
		return Confirmed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.judge(now)
	return c.found.trust
}

// State is what was known when Vote or Trust was called last.
func (c *Clock) State() ClockState {
	if c == nil {
		return ClockState{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return ClockState{c.found.trust, c.found.why(), c.found.near, c.found.elsewhere}
}

// why tells what speaks against the clock.
func (j judgement) why() string {
	switch {
	case j.trust < Doubted:
		return ""
	case j.trust == Disproved, j.againstMail():
		return fmt.Sprintf("the mail of %d networks is dated %s the clock of this host", j.elsewhere, distance(j.off))
	case j.wasMoved():
		return fmt.Sprintf("the clock of this host was moved, it is %s where it would be", distance(j.moved))
	default:
		return "the clock of this host was never set"
	}
}

func (j judgement) againstMail() bool { return j.elsewhere >= 2 && j.elsewhere >= j.near }

func (j judgement) wasMoved() bool { return abs(j.moved) > int64(jumped/time.Second) }

// since is how far a time is ahead of what the clock would read now had it never been moved. Seconds, as a Duration ends at 292
// years.
func (c *Clock) since(t time.Time) int64 { return t.Unix() - c.start - int64(c.elapsed()/time.Second) }

// judge finds out the state. The caller holds mu.
func (c *Clock) judge(now time.Time) {
	const near = int64(sameTime / time.Second)
	j := judgement{trust: Unconfirmed, moved: c.since(now)}
	var room [maxVotes]int64
	others := room[:0] // how far they are ahead of the clock
	for _, v := range c.votes {
		if off := v.ahead - j.moved; abs(off) <= near {
			j.near++
		} else {
			others = append(others, off)
		}
	}
	slices.Sort(others)
	for first, last := 0, 0; last < len(others); last++ {
		for others[last]-others[first] > 2*near {
			first++
		}
		if n := last - first + 1; n > j.elsewhere {
			j.elsewhere, j.off = n, others[first+n/2]
		}
	}
	switch {
	case j.near >= enoughVotes && j.near > j.elsewhere:
		j.trust = Confirmed
	case j.elsewhere >= enoughVotes && j.elsewhere > j.near:
		j.trust = Disproved
	case j.againstMail(), j.wasMoved(), now.Before(earliest):
		j.trust = Doubted
	}
	c.found = j
	if elapsed := c.elapsed(); j.trust == Disproved && elapsed >= c.told {
		c.told = elapsed + tellEvery
		c.log.WithField("clock", now.UTC().Format(time.RFC3339)).Errorf("clock: %s: nothing is refused for its date", j.why())
	}
}

func abs(n int64) int64 { return max(n, -n) }

// distance tells how far a time is from another, in the largest unit that fits.
func distance(seconds int64) string {
	word := "after"
	if seconds < 0 {
		seconds, word = -seconds, "before"
	}
	for _, unit := range []struct {
		length int64
		name   string
	}{{24 * 60 * 60, "days"}, {60 * 60, "hours"}} {
		if seconds >= 2*unit.length {
			return fmt.Sprintf("%.0f %s %s", math.Round(float64(seconds)/float64(unit.length)), unit.name, word)
		}
	}
	return fmt.Sprintf("%d minutes %s", seconds/60, word)
}
