package storetest

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// found returns the records that Scan finds. It fails the test if Scan returns a key twice.
func (s suite) found(prefix string) map[string]string {
	s.Helper()
	found := map[string]string{}
	for r, err := range s.store.Scan(s.ctx, prefix) {
		s.must(err)
		if _, twice := found[r.Key]; twice {
			s.Errorf("scan %q finds %q twice", prefix, r.Key)
		}
		found[r.Key] = string(r.Value)
	}
	return found
}

func (s suite) scan() {
	s.put("a:1", "one", long)
	s.put("a:2", "", 2*long)
	s.wantSum("a:3", 3, long, 3)
	s.put("a:", "all", long)
	s.put("b:1", "other", long)
	s.put("A:1", "case", long)
	s.put("a", "short", long)
	s.put("a:gone", "1", long)
	s.must(s.store.Delete(s.ctx, "a:gone"))
	want := map[string]string{"a:1": "one", "a:2": "", "a:3": "3", "a:": "all"}
	if found := s.found("a:"); !maps.Equal(found, want) {
		s.Errorf("got %q", found)
	}
	if found := s.found(""); len(found) != 7 {
		s.Errorf("got %q", found)
	}
	if found := s.found("c"); len(found) != 0 {
		s.Errorf("got %q", found)
	}
	for r, err := range s.store.Scan(s.ctx, "a:2") {
		s.must(err)
		if off := r.Expires.Sub(s.Now().Add(2 * long)).Abs(); off > maxWait || s.Advance != nil && off > time.Millisecond {
			s.Errorf("expires %v, now is %v", r.Expires, s.Now())
		}
	}
	for range s.store.Scan(s.ctx, "a:") {
		break
	}
}

func (s suite) scanPrefixes() {
	keys := []string{"*", "?", "[", "]", "[a", "a]", "[ab]c", "ac", "bc", `\`, `\*`, "*x", "x*", "^", "[^a]", "-", "a-z", "{a,b}", "\x00", "\xff", "\xff\xff", "a\nb"}
	for _, key := range keys {
		s.put(key, key, long)
	}
	for _, prefix := range append(keys, "", "[ab", "x", "z", "a", "?c", `\\`) {
		want := map[string]string{}
		for _, key := range keys {
			if strings.HasPrefix(key, prefix) {
				want[key] = key
			}
		}
		if found := s.found(prefix); !maps.Equal(found, want) {
			s.Errorf("scan %q: got %q, want %q", prefix, slices.Sorted(maps.Keys(found)), slices.Sorted(maps.Keys(want)))
		}
	}
}

func (s suite) scanMany() {
	const n = 2500 // several pages
	value := bytes.Repeat([]byte("v"), 20)
	for i := range n {
		s.must(s.store.Put(s.ctx, "many:"+strconv.Itoa(i), value, long))
	}
	s.put("other", "1", long)
	if found := s.found("many:"); len(found) != n {
		s.Errorf("got %d records", len(found))
	}
}

func (s suite) scanAndWrite() {
	for i := range 1200 {
		s.put(strconv.Itoa(i), "1", long)
	}
	seen := 0
	for r, err := range s.store.Scan(s.ctx, "") {
		s.must(err)
		if _, err := strconv.Atoi(r.Key); err == nil {
			seen++
			s.put("x"+r.Key, "1", long)
			s.must(s.store.Delete(s.ctx, r.Key))
		}
	}
	if seen != 1200 {
		s.Errorf("saw %d records", seen)
	}
	if found := s.found("x"); len(found) != 1200 {
		s.Errorf("wrote %d records", len(found))
	}
}
