package evidence

import "testing"

// FuzzDecode decodes buckets that may be damaged.
func FuzzDecode(f *testing.F) {
	key := entryKey{"c", "s", true}
	good, err := encode(map[entryKey]*entry{
		key: {Client: "c", Sender: "s", Verified: true, Hits: hits{"r": {Seen: newTally(start)}}, Known: newTally(start)},
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
