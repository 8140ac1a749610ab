package evidence

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"milterd/checks"
)

// FuzzDecode decodes buckets that may be damaged.
func FuzzDecode(f *testing.F) {
	key := entryKey{client: "c", sender: "s", verified: true}
	good, err := encode(map[entryKey]*entry{
		key: {Client: "c", Sender: "s", Verified: true, Reasons: reasonCounts{"r": {Applied: newTally(start)}}, Known: newTally(start)},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("{}\n\x00\n" + `{"c":"x","h":{"r":null},"n":{"n":1}}}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		table := decode(value)
		again, err := encode(table)
		if err != nil || len(again) > bucketBytes {
			t.Fatalf("%d bytes, %v", len(again), err)
		}
		if n := len(decode(again)); len(table) <= bucketEntries && len(value) < bucketBytes/10 && n != len(table) {
			t.Errorf("%d entries of %d", n, len(table))
		}
		for key, e := range table {
			if key != e.key() || e.Client == "" {
				t.Errorf("%v under %v", e, key)
			}
			e.shift(1)
			e.add(e)
			e.cleanOf("r")
		}
	})
}

// TestFullBucket tests which entries of a bucket are kept: a known correspondent of last week rather than a sender that came once,
// and of those the last ones.
func TestFullBucket(t *testing.T) {
	t.Parallel()
	table := map[entryKey]*entry{}
	add := func(e *entry) { table[e.key()] = e }
	add(&entry{Client: "known", Known: newTally(start)})
	for i := range 2 * bucketEntries {
		add(&entry{Client: fmt.Sprint(i), Clean: newTally(start.Add(time.Duration(i+1) * time.Minute))})
	}
	value, err := encode(table)
	if err != nil {
		t.Fatal(err)
	}
	kept := decode(value)
	for i := range 2 * bucketEntries {
		if want := i > bucketEntries; kept[entryKey{client: fmt.Sprint(i)}] != nil != want {
			t.Errorf("client %d of %d: kept is not %v", i, 2*bucketEntries, want)
		}
	}
	if kept[entryKey{client: "known"}] == nil {
		t.Error("the correspondent is not kept")
	}
}

// TestSumsFitInARecord tests that the sums of half as many reasons again as the checks have fit in a record of a store.
func TestSumsFitInARecord(t *testing.T) {
	t.Parallel()
	const reasons = 150
	every := counts{RefusedOtherwise: 10_000_000, Against: 10_000_000}
	for _, t := range every.tallies() {
		*t = tally{N: 10_000_000, Days: 1<<7 - 1, First: start.Unix(), Last: start.Unix()}
	}
	sums := reasonCounts{}
	for i := range reasons {
		sums.add(fmt.Sprintf("sender-not-routable-%d", i), every)
	}
	value, err := json.Marshal(sums)
	if err != nil || len(value) > checks.MaxValue {
		t.Errorf("%d bytes, %v; want at most %d", len(value), err, checks.MaxValue)
	}
}
