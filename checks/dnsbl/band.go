package dnsbl

import (
	"fmt"
	"math"
)

// band is what share of the lookups a zone lists. It finds lists that changed under their users' hands while their test points
// stayed right.
//
// Lookups are counted in samples. A sample has each group (network or organisational domain) once, so that one busy client does
// not make a sample of its own. Still a wave of spam looks like a list gone wrong; therefore a zone that leaves its band comes
// back with the next good test, and its share of then becomes the normal one.
type band struct {
	seen map[string]bool // groups in this sample
	hits int             // of them

	samples        int     // learned from
	mean, variance float64 // of the share in a sample, recent ones counting more
}

const (
	sample  = 64  // groups
	learned = 8   // samples that make a band
	memory  = 32  // samples that the band is an average over, about
	slack   = 0.1 // by which the share may always be off
	spread  = 4   // standard deviations by which it may be off beyond that
	// certain is a share of which it is no wonder that a sample has nothing else: 64 listings in a row are one case in 30.
	certain = 0.95
)

// add counts a lookup and says what is wrong with the zone, if it fills a sample that shows it.
func (b *band) add(group string, hit bool) (fault string) {
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
	switch {
	case share == 1 && (b.samples < learned || b.mean < certain):
		// Not learned from: it must never become normal.
		return fmt.Sprintf("it lists everyone: %d of %d", sample, sample)
	case b.samples >= learned && math.Abs(share-b.mean) > b.width():
		was := b.mean
		*b = band{}
		b.learn(share)
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
