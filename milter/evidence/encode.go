package evidence

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
)

// worth ranks the entries of a full bucket. Known correspondents rank highest, then entries with clean messages on many
// days, then entries that were seen on many days.
func (e *entry) worth() int {
	n := 8*e.Clean.days() + e.all().days()
	if e.Known.N > 0 {
		n += 64
	}
	return n
}

func (e *entry) last() int64 { return max(e.all().Last, e.Clean.Last) }

// decode reads the entries of a bucket, one a line. It leaves out damaged lines.
func decode(value []byte) map[entryKey]*entry {
	table := map[entryKey]*entry{}
	for line := range bytes.Lines(value) {
		e := &entry{}
		if json.Unmarshal(line, e) == nil && e.Client != "" {
			table[e.key()] = e
		}
	}
	return table
}

// encode returns the entries of a bucket. It leaves out those of the least worth that have no room.
func encode(table map[entryKey]*entry) ([]byte, error) {
	type ranked struct {
		*entry
		worth int
		last  int64
	}
	var list []ranked
	for _, e := range table {
		list = append(list, ranked{entry: e, worth: e.worth(), last: e.last()})
	}
	slices.SortFunc(list, func(x, y ranked) int { return cmp.Or(cmp.Compare(y.worth, x.worth), cmp.Compare(y.last, x.last)) })
	var value []byte
	for _, e := range list[:min(len(list), bucketEntries)] {
		line, err := json.Marshal(e.entry)
		if err != nil {
			return nil, err
		}
		if len(value)+len(line) >= bucketBytes {
			break
		}
		value = append(append(value, line...), '\n')
	}
	return value, nil
}
