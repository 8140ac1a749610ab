// Package storetest tests that an implementation of checks.Store does what the documentation of that interface says.
// Start at Run; milter/store and checks/checktest use it.
package storetest

import (
	"context"
	"errors"
	"maps"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"milterd/checks"
)

// Setup describes the implementation to test.
type Setup struct {
	// Open returns an empty store for one test.
	Open func(t *testing.T) checks.Store
	// Second returns another store with the same records as first, as on another host. nil means that there is none.
	Second func(t *testing.T, first checks.Store) checks.Store
	// Now is the clock by which records expire.
	Now func() time.Time
	// Advance moves that clock. nil means that the clock cannot be moved, and the tests wait.
	Advance func(d time.Duration)
}

const (
	long    = time.Hour
	short   = 300 * time.Millisecond // the tests wait for it if the clock cannot be moved
	maxWait = 20 * time.Second
)

// Run runs all tests, each with a store of its own.
func Run(t *testing.T, s Setup) {
	for name, test := range map[string]func(suite){
		"get put delete":       suite.basics,
		"any bytes":            suite.anyBytes,
		"limits":               suite.limits,
		"values are copied":    suite.copies,
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

func (s suite) anyBytes() {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, text := range []string{"", "\x00", "\r\n", string(every), "\xff\xff", " ", "*", "ü", strings.Repeat("\xff", checks.MaxKey)} {
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
	key, value := strings.Repeat("k", checks.MaxKey), strings.Repeat("v", checks.MaxValue)
	s.put(key, value, long)
	s.want(key, value)
	if _, err := s.store.PutNew(s.ctx, key, []byte(value+"v"), long); err == nil {
		s.Error("put new: accepted a value that is too long")
	}
	if err := s.store.Put(s.ctx, key, []byte(value+"v"), long); err == nil {
		s.Error("put: accepted a value that is too long")
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
	for operation, err := range map[string]error{
		"get": get, "put": s.store.Put(s.ctx, key, nil, long), "put new": putNew, "add": add,
		"delete": s.store.Delete(s.ctx, key), "scan": scan,
	} {
		if err == nil {
			s.Errorf("%s: accepted a key that is too long", operation)
		}
	}
	// These errors must not make the store fail.
	s.put("a", "1", long)
	s.want("a", "1")
}

// copies tests that the store neither keeps the slices of a caller nor returns its own.
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
	s.put("kept", "1", long)
	s.put("expiring", "1", short)
	s.expires("expiring", began)
	s.want("kept", "1")
	if found := s.found(""); !maps.Equal(found, map[string]string{"kept": "1"}) {
		s.Errorf("scan finds %q", found)
	}
	s.must(s.store.Delete(s.ctx, "expiring"))
	began = s.Now()
	s.put("expiring", "2", short)
	s.want("kept", "1")
	s.expires("expiring", began)
	s.put("expiring", "3", 200*365*24*time.Hour)
	s.want("expiring", "3")
	s.put("expiring", "4", math.MaxInt64)
	s.want("expiring", "4")
}

func (s suite) replacedTTL() {
	began := s.Now()
	s.put("longer", "1", short)
	s.put("longer", "2", long)
	s.put("shorter", "1", long)
	s.put("shorter", "2", short)
	s.expires("shorter", began)
	s.want("longer", "2")
}

func (s suite) putNew() {
	s.wantNew("a", "1", long, true)
	s.wantNew("a", "2", short, false)
	s.want("a", "1")
	s.must(s.store.Delete(s.ctx, "a"))
	began := s.Now()
	s.wantNew("a", "3", short, true)
	s.expires("a", began)
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
	s.expires("n", began)
	s.wantSum("n", 5, long, 5)
	// A record that Put wrote keeps its time to live too.
	began = s.Now()
	s.put("n", "1", short)
	s.wantSum("n", 1, long, 2)
	s.expires("n", began)
}

// noTTL tests that a record without time to live expires at once.
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
	s.put("a", "1", time.Nanosecond) // expires after a millisecond
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
