package store

import (
	"bytes"
	"container/heap"
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"milterd/checks"
)

// memory is the driver that keeps records in this process, up to a limit.
type memory struct {
	clock    *recordClock
	maxBytes int64

	mu      sync.Mutex
	records map[string]*entry
	expiry  expiryQueue
	bytes   int64
}

// entry is one record.
type entry struct {
	key      string
	value    []byte
	deadline int64 // of recordClock
	index    int   // in memory.expiry
}

func (e *entry) bytes() int64 { return int64(len(e.key) + len(e.value) + overhead) }

func newMemory(cfg Config) *memory {
	return &memory{clock: newRecordClock(cfg), maxBytes: cfg.MaxBytes, records: map[string]*entry{}}
}

func (m *memory) get(_ context.Context, key string) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.lookup(key)
	if e == nil {
		return nil, false, nil
	}
	return bytes.Clone(e.value), true, nil
}

func (m *memory) put(_ context.Context, key string, value []byte, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(key, value, ttl)
	return nil
}

func (m *memory) putNew(_ context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lookup(key) != nil {
		return false, nil
	}
	m.set(key, value, ttl)
	return true, nil
}

func (m *memory) add(_ context.Context, key string, n int64, ttl time.Duration) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.lookup(key)
	if e == nil {
		if ttl > 0 {
			m.set(key, strconv.AppendInt(nil, n, 10), ttl)
		}
		return n, nil
	}
	total, err := sum(e.value, n)
	if err != nil {
		return 0, err
	}
	m.bytes -= e.bytes()
	e.value = strconv.AppendInt(nil, total, 10)
	m.bytes += e.bytes()
	return total, nil
}

func (m *memory) remove(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.records[key]; e != nil {
		m.drop(e)
	}
	return nil
}

// scan returns all records in one page: going through the map takes the lock once either way.
func (m *memory) scan(prefix string) func(context.Context) ([]checks.Record, bool, error) {
	return func(context.Context) ([]checks.Record, bool, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.dropExpired()
		var page []checks.Record
		for key, e := range m.records {
			if strings.HasPrefix(key, prefix) {
				page = append(page, checks.Record{Key: key, Value: bytes.Clone(e.value), Expires: m.clock.wallTime(e.deadline)})
			}
		}
		return page, false, nil
	}
}

func (m *memory) probe(context.Context) error { return nil }

func (m *memory) degraded() error { return nil }

func (m *memory) size(context.Context) (records, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropExpired()
	return int64(len(m.records)), m.bytes
}

func (m *memory) location() string { return "" }

func (m *memory) close() error { return nil }

// lookup returns the entry of a key unless it has expired, or nil. The caller of it and of the following methods holds
// mu.
func (m *memory) lookup(key string) *entry {
	e := m.records[key]
	if e != nil && e.deadline <= m.clock.now() {
		m.drop(e)
		return nil
	}
	return e
}

// set writes a record and deletes others if there is no room.
func (m *memory) set(key string, value []byte, ttl time.Duration) {
	if e := m.records[key]; e != nil {
		m.drop(e)
	}
	m.dropExpired()
	e := &entry{key: key, value: append([]byte{}, value...), deadline: m.clock.deadline(ttl)}
	for len(m.expiry) > 0 && m.bytes+e.bytes() > m.maxBytes {
		m.drop(m.expiry[0])
	}
	m.records[key] = e
	m.bytes += e.bytes()
	heap.Push(&m.expiry, e)
}

func (m *memory) dropExpired() {
	now := m.clock.now()
	for len(m.expiry) > 0 && m.expiry[0].deadline <= now {
		m.drop(m.expiry[0])
	}
}

func (m *memory) drop(e *entry) {
	heap.Remove(&m.expiry, e.index)
	delete(m.records, e.key)
	m.bytes -= e.bytes()
}

// expiryQueue is a heap.Interface with the record that expires first at the top.
type expiryQueue []*entry

func (q expiryQueue) Len() int           { return len(q) }
func (q expiryQueue) Less(i, j int) bool { return q[i].deadline < q[j].deadline }
func (q expiryQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *expiryQueue) Push(x any) {
	e := x.(*entry)
	e.index = len(*q)
	*q = append(*q, e)
}

func (q *expiryQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}
