package dnsbl

import (
	"fmt"
	"maps"
	"math"
)

// band is what share of the lookups a zone lists. It finds lists that changed under their users' hands while their test points
// stayed right.
//
// Lookups are counted by groups (network or organisational domain), so that one busy client says nothing. A list that lists
// everyone is found by a run: so many groups one after the other, all listed, are no chance. It is then in doubt, and what it
// lists counts for nothing until it has shown that there is somebody whom it does not list.
//
// How long a run may be depends on the share p that the zone was seen to list, as a good list of spam sources lists most
// of the strangers at some sites: so long that chance has it once in a thousand tries, p^n = 1/1000, and never less than shortest.
// With p of 0.5 that is 12, of 0.7 it is 20, of 0.9 it is 66. The longer run costs no more honest mail: of its n the share that
// the zone did not list before is n*(1-p), which is never more than ln 1000, 7 mails. A zone of which nothing is known yet is
// held to shortest, and so costs 11 mails of different groups at most.
//
// Chance puts a good zone in doubt too, until the next lookup of somebody whom it does not list. In trials a zone that lists
// 70 % was in doubt for 0.4 % of its first hundred lookups, one that lists 90 % for 6 %, and either for 0.1 to 0.2 % of the later ones.
//
// A share that is out of the ordinary but not everyone is found by samples, which have each group once. A wave of spam looks like
// that too; therefore a zone that leaves its band comes back with the next good test, and its share from then on becomes the
// normal one.
type band struct {
	run  map[string]bool // groups listed since one was not
	most int             // of them, found out when the run began

	owed  int             // groups that it must be seen not to list; 0: it is not in doubt
	asked int             // owed when it was in doubt last; 0: that is a whole sample ago
	shown map[string]bool // groups that it was seen not to list
	why   string          // it is in doubt, in words

	seen map[string]bool // groups in this sample
	hits int             // of them

	samples        int     // learned from
	mean, variance float64 // of the share in a sample, recent ones counting more
}

const (
	shortest = 12    // groups that a run has at least until it is no chance
	chance   = 0.001 // of a longer run
	mostOwed = 8     // groups

	sample  = 64  // groups
	learned = 8   // samples that make a band
	memory  = 32  // samples that the band is an average over, about
	slack   = 0.1 // by which the share may always be off
	spread  = 4   // standard deviations by which it may be off beyond that
)

// clone is a band that goes on by itself.
func (b *band) clone() band {
	c := *b
	c.run, c.shown, c.seen = maps.Clone(b.run), maps.Clone(b.shown), maps.Clone(b.seen)
	return c
}

// inDoubt tells whether the zone was seen to list everyone, and was not seen yet to have ended that.
func (b *band) inDoubt() bool { return b.owed > 0 }

// add counts a lookup and says what is wrong with the zone, if this shows it.
func (b *band) add(group string, hit bool) (fault string) {
	if b.inDoubt() {
		if hit {
			return "" // not learned from: it must never become normal
		}
		b.show(group)
	}
	if b.runs(group, hit) {
		return b.doubt()
	}
	return b.count(group, hit)
}

// runs counts the run, and tells whether it is too long.
func (b *band) runs(group string, hit bool) bool {
	if !hit {
		clear(b.run)
		b.most = b.longest()
		return false
	}
	if b.run == nil {
		b.run = map[string]bool{}
	}
	b.run[group] = true
	return len(b.run) >= max(b.most, shortest)
}

// longest is how long the next run may be.
func (b *band) longest() int {
	known := float64(min(b.samples, memory) * sample)
	// Two lookups more than there were, of groups that are not listed: what is hardly known counts for little.
	p := (known*b.mean + float64(b.hits)) / (known + float64(len(b.seen)) + 2)
	if p <= 0 {
		return shortest
	}
	return int(math.Ceil(math.Log(chance) / math.Log(p)))
}

// doubt begins a time in which the zone has to show that it does not list everyone. Answers from before may still be remembered
// somewhere on the way: each time it must show more.
func (b *band) doubt() (fault string) {
	b.owed = min(max(1, 2*b.asked), mostOwed)
	b.asked, b.shown = b.owed, map[string]bool{}
	n := len(b.run)
	b.why = fmt.Sprintf("it lists everyone: %d of %d. It is asked on, but lists nobody until there is somebody whom it does not list", n, n)
	return b.why
}

// show notes a group that the zone does not list while it is in doubt.
func (b *band) show(group string) {
	b.shown[group] = true
	if len(b.shown) >= b.owed {
		b.owed, b.shown, b.why = 0, nil, ""
	}
}

// count counts the sample, and says what is wrong with the zone if this fills one that shows it.
func (b *band) count(group string, hit bool) (fault string) {
	if b.seen[group] {
		return ""
	}
	if b.seen == nil {
		b.seen = make(map[string]bool, sample)
	}
	b.seen[group] = true
	if hit {
		b.hits++
	}
	if len(b.seen) < sample {
		return ""
	}
	share := float64(b.hits) / sample
	b.restart()
	b.asked = 0
	if b.samples >= learned && math.Abs(share-b.mean) > b.width() {
		was := b.mean
		*b = band{}
		return fmt.Sprintf("it lists %.0f %% of what it is asked, where %.0f %% were normal", 100*share, 100*was)
	}
	b.learn(share)
	return ""
}

// width is how far from the mean a share may be.
func (b *band) width() float64 {
	// No less than chance allows.
	deviation := math.Sqrt(max(b.variance, b.mean*(1-b.mean)/sample))
	return slack + spread*deviation
}

// learn moves the band.
func (b *band) learn(share float64) {
	b.samples++
	weight := 1 / float64(min(b.samples, memory))
	off := share - b.mean
	b.mean += weight * off
	b.variance = (1 - weight) * (b.variance + weight*off*off)
}

// restart begins a sample anew.
func (b *band) restart() {
	clear(b.seen)
	b.hits = 0
}
