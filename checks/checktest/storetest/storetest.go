// Package storetest holds every checks.Store to the words of that interface.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"milterd/checks"
)

// Setup is a kind of store to be tested.
type Setup struct {
	// Open returns an empty store for one test.
	Open func(t *testing.T) checks.Store
	// Second returns another way to the records of a store that Open returned, as another host has it. nil: there is none.
	Second func(t *testing.T, first checks.Store) checks.Store
	// Now is the clock by which records expire.
	Now func() time.Time
	// Advance moves that clock. nil: it moves by itself, and the tests wait.
	Advance func(d time.Duration)
}

// Limits of what a store takes, in octets.
const (
	maxKey   = 4 << 10
	maxValue = 64 << 10
)

const (
	long    = time.Hour
	short   = 300 * time.Millisecond // what is waited for where the clock cannot be moved
	patient = 20 * time.Second       // then the test fails
)

// suite is one test with its store.
type suite struct {
	*testing.T
	Setup
	store checks.Store
	ctx   context.Context
}

// Run runs all tests.
func Run(t *testing.T, s Setup) {
	for name, test := range map[string]func(suite){
		"get put delete":       suite.basics,
		"any octets":           suite.octets,
		"limits":               suite.limits,
		"copies":               suite.copies,
		"expiry":               suite.expiry,
		"put replaces the ttl": suite.replacedTTL,
		"put new":              suite.putNew,
		"add":                  suite.add,
		"add keeps the ttl":    suite.addTTL,
		"no time to live":      suite.noTTL,
		"concurrent put new":   suite.concurrentPutNew,
		"concurrent add":       suite.concurrentAdd,
		"scan":                 suite.scan,
		"scan prefixes":        suite.scanPrefixes,
		"scan many":            suite.scanMany,
		"scan and write":       suite.scanAndWrite,
		"done context":         suite.doneContext,
	} {
		t.Run(name, func(t *testing.T) {
			// Not parallel: the tests share a clock.
			test(suite{t, s, s.Open(t), t.Context()})
		})
	}
}

// must ends the test with an error.
func (s suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s suite) put(key, value string, ttl time.Duration) {
	s.Helper()
	s.must(s.store.Put(s.ctx, key, []byte(value), ttl))
}

// want checks what Get says.
func (s suite) want(key, value string) {
	s.Helper()
	got, ok, err := s.store.Get(s.ctx, key)
	if err != nil || !ok || string(got) != value {
		s.Errorf("get %.40q: got %.40q, %t, %v, want %.40q", key, got, ok, err, value)
	}
}

func (s suite) wantNone(key string) {
	s.Helper()
	if got, ok, err := s.store.Get(s.ctx, key); err != nil || ok || got != nil {
		s.Errorf("get %.40q: got %.40q, %t, %v, want none", key, got, ok, err)
	}
}

func (s suite) wantNew(key, value string, ttl time.Duration, want bool) {
	s.Helper()
	if stored, err := s.store.PutNew(s.ctx, key, []byte(value), ttl); err != nil || stored != want {
		s.Errorf("put new %.40q: got %t, %v, want %t", key, stored, err, want)
	}
}

func (s suite) wantSum(key string, n int64, ttl time.Duration, want int64) {
	s.Helper()
	if total, err := s.store.Add(s.ctx, key, n, ttl); err != nil || total != want {
		s.Errorf("add %d to %q: got %d, %v, want %d", n, key, total, err, want)
	}
}

// pass lets a record expire that was written, with a time to live of short, not before since.
func (s suite) pass(key string, since time.Time) {
	s.Helper()
	if s.Advance != nil {
		s.Advance(short - time.Millisecond)
		if _, ok, err := s.store.Get(s.ctx, key); err != nil || !ok {
			s.Errorf("%q is gone a millisecond too soon, or %v", key, err)
		}
		s.Advance(time.Millisecond)
		s.wantNone(key)
		return
	}
	for {
		_, ok, err := s.store.Get(s.ctx, key)
		s.must(err)
		lived := s.Now().Sub(since)
		switch {
		case !ok && lived < short:
			s.Errorf("%q is gone after %v", key, lived)
			return
		case !ok:
			return
		case lived > patient:
			s.Fatalf("%q is still there", key)
		}
	}
}

func (s suite) basics() {
	s.wantNone("a")
	s.put("a", "1", long)
	s.want("a", "1")
	s.put("a", "2", long)
	s.want("a", "2")
	s.wantNone("b")
	s.must(s.store.Delete(s.ctx, "a"))
	s.wantNone("a")
	s.must(s.store.Delete(s.ctx, "a"))
}

func (s suite) octets() {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, text := range []string{"", "\x00", "\r\n", string(every), "\xff\xff", " ", "*", "ü", strings.Repeat("\xff", maxKey)} {
		s.put(text, text, long)
		s.want(text, text)
		found := s.found(text)
		if found[text] != text {
			s.Errorf("scan %.40q: got %.40q", text, found)
		}
		s.must(s.store.Delete(s.ctx, text))
		s.wantNone(text)
		s.wantNew(text, text, long, true)
		s.want(text, text)
		s.must(s.store.Delete(s.ctx, text))
		s.wantSum(text, 1, long, 1)
		s.must(s.store.Delete(s.ctx, text))
	}
	s.must(s.store.Put(s.ctx, "nil", nil, long))
	if v, ok, err := s.store.Get(s.ctx, "nil"); v == nil || len(v) > 0 || !ok || err != nil {
		s.Errorf("empty value: got %v, %t, %v", v, ok, err)
	}
}

func (s suite) limits() {
	key, value := strings.Repeat("k", maxKey), strings.Repeat("v", maxValue)
	s.put(key, value, long)
	s.want(key, value)
	if _, err := s.store.PutNew(s.ctx, key, []byte(value+"v"), long); err == nil {
		s.Error("put new: took a value that is too long")
	}
	if err := s.store.Put(s.ctx, key, []byte(value+"v"), long); err == nil {
		s.Error("put: took a value that is too long")
	}
	s.want(key, value)
	key += "k"
	_, _, get := s.store.Get(s.ctx, key)
	_, putNew := s.store.PutNew(s.ctx, key, nil, long)
	_, add := s.store.Add(s.ctx, key, 1, long)
	var scan error
	for _, err := range s.store.Scan(s.ctx, key) {
		scan = err
	}
	for what, err := range map[string]error{
		"get": get, "put": s.store.Put(s.ctx, key, nil, long), "put new": putNew, "add": add,
		"delete": s.store.Delete(s.ctx, key), "scan": scan,
	} {
		if err == nil {
			s.Errorf("%s: took a key that is too long", what)
		}
	}
	// None of it is held against the store.
	s.put("a", "1", long)
	s.want("a", "1")
}

// copies makes sure that nobody's slice is kept or handed out.
func (s suite) copies() {
	mine := []byte("value")
	s.must(s.store.Put(s.ctx, "put", mine, long))
	_, err := s.store.PutNew(s.ctx, "new", mine, long)
	s.must(err)
	copy(mine, "xxxxx")
	for _, key := range []string{"put", "new"} {
		got, _, err := s.store.Get(s.ctx, key)
		s.must(err)
		copy(got, "yyyyy")
		for r, err := range s.store.Scan(s.ctx, key) {
			s.must(err)
			copy(r.Value, "zzzzz")
		}
		s.want(key, "value")
	}
}

func (s suite) expiry() {
	began := s.Now()
	s.put("stays", "1", long)
	s.put("goes", "1", short)
	s.pass("goes", began)
	s.want("stays", "1")
	if found := s.found(""); !maps.Equal(found, map[string]string{"stays": "1"}) {
		s.Errorf("scan finds %q", found)
	}
	s.must(s.store.Delete(s.ctx, "goes"))
	began = s.Now()
	s.put("goes", "2", short)
	s.want("stays", "1")
	s.pass("goes", began)
	s.put("goes", "3", 200*365*24*time.Hour)
	s.want("goes", "3")
	s.put("goes", "4", math.MaxInt64)
	s.want("goes", "4")
}

func (s suite) replacedTTL() {
	began := s.Now()
	s.put("longer", "1", short)
	s.put("longer", "2", long)
	s.put("shorter", "1", long)
	s.put("shorter", "2", short)
	s.pass("shorter", began)
	s.want("longer", "2")
}

func (s suite) putNew() {
	s.wantNew("a", "1", long, true)
	s.wantNew("a", "2", short, false)
	s.want("a", "1")
	s.must(s.store.Delete(s.ctx, "a"))
	began := s.Now()
	s.wantNew("a", "3", short, true)
	s.pass("a", began)
	s.wantNew("a", "4", long, true)
	s.want("a", "4")
	s.wantSum("n", 1, long, 1)
	s.wantNew("n", "4", long, false)
}

func (s suite) add() {
	s.wantSum("n", 2, long, 2)
	s.wantSum("n", 40, long, 42)
	s.wantSum("n", -50, long, -8)
	s.wantSum("n", 0, long, -8)
	s.want("n", "-8")
	s.put("n", "7", long)
	s.wantSum("n", 1, long, 8)
	s.wantSum("large", 1<<53, long, 1<<53)
	s.wantSum("large", 1, long, 1<<53+1)
	s.put("max", strconv.FormatInt(math.MaxInt64-1, 10), long)
	s.wantSum("max", 1, long, math.MaxInt64)
	s.put("min", strconv.FormatInt(math.MinInt64+1, 10), long)
	s.wantSum("min", -1, long, math.MinInt64)
	for key, n := range map[string]int64{"max": 1, "min": -1} {
		if total, err := s.store.Add(s.ctx, key, n, long); err == nil {
			s.Errorf("%s overflows to %d", key, total)
		}
	}
	s.want("max", strconv.FormatInt(math.MaxInt64, 10))
	for _, text := range []string{"", "x", "1.0", "+1", "01", " 1", "1 ", "9223372036854775808", "0x1"} {
		s.put("text", text, long)
		if total, err := s.store.Add(s.ctx, "text", 1, long); err == nil {
			s.Errorf("%q counts as a number: %d", text, total)
		}
		s.want("text", text)
	}
}

func (s suite) addTTL() {
	began := s.Now()
	s.wantSum("n", 1, short, 1)
	s.wantSum("n", 1, long, 2)
	s.pass("n", began)
	s.wantSum("n", 5, long, 5)
	// What Put wrote keeps its end too.
	began = s.Now()
	s.put("n", "1", short)
	s.wantSum("n", 1, long, 2)
	s.pass("n", began)
}

// noTTL: what does not live is gone at once.
func (s suite) noTTL() {
	for _, ttl := range []time.Duration{0, -time.Second} {
		s.put("a", "1", long)
		s.put("a", "2", ttl)
		s.wantNone("a")
		s.wantNew("a", "1", ttl, true)
		s.wantNone("a")
		s.wantSum("a", 3, ttl, 3)
		s.wantNone("a")
		s.wantSum("a", 3, long, 3)
		s.wantSum("a", 3, ttl, 6)
		s.wantNew("a", "1", ttl, false)
		s.want("a", "6")
		s.must(s.store.Delete(s.ctx, "a"))
	}
	s.put("a", "1", time.Nanosecond) // lives, and no longer than a millisecond
}

func (s suite) doneContext() {
	s.put("a", "1", long)
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	for range 10 {
		if _, _, err := s.store.Get(ctx, "a"); !errors.Is(err, context.Canceled) {
			s.Errorf("got %v", err)
		}
	}
	for _, err := range s.store.Scan(ctx, "") {
		if !errors.Is(err, context.Canceled) {
			s.Errorf("scan: got %v", err)
		}
	}
	s.want("a", "1")
}

// found collects what Scan finds. It fails the test if a key comes twice.
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
		if off := r.Expires.Sub(s.Now().Add(2 * long)).Abs(); off > patient || s.Advance != nil && off > time.Millisecond {
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
