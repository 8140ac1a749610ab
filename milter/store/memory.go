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

// overhead is what a record costs beside its key and value, in octets: map, heap and the entry itself.
const overhead = 128

// memory is the driver that keeps records in this process, within bounds.
type memory struct {
	now, wall  func() time.Time
	maxRecords int
	maxOctets  int64

	mu      sync.Mutex
	records map[string]*entry
	queue   queue
	octets  int64
}

// entry is one record.
type entry struct {
	key     string
	value   []byte
	expires int64 // milliseconds since 1970
	index   int   // in the queue
}

func (e *entry) octets() int64 { return int64(len(e.key) + len(e.value) + overhead) }

// queue has what expires soonest first. It implements heap.Interface.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].expires < q[j].expires }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	e := x.(*entry)
	e.index = len(*q)
	*q = append(*q, e)
}

func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}

func newMemory(cfg Config) *memory {
	return &memory{now: cfg.Now, wall: cfg.wall, maxRecords: cfg.MaxRecords, maxOctets: cfg.MaxOctets, records: map[string]*entry{}}
}

func (m *memory) get(_ context.Context, key string) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.live(key)
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
	if m.live(key) != nil {
		return false, nil
	}
	m.set(key, value, ttl)
	return true, nil
}

func (m *memory) add(_ context.Context, key string, n int64, ttl time.Duration) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.live(key)
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
	m.octets -= e.octets()
	e.value = strconv.AppendInt(nil, total, 10)
	m.octets += e.octets()
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

// scan copies all that begins with prefix in one page: it holds the lock no longer than any other way would, and the loop
// over it may write.
func (m *memory) scan(prefix string) func(context.Context) ([]checks.Record, bool, error) {
	return func(context.Context) ([]checks.Record, bool, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.expire()
		var page []checks.Record
		now, wall := m.now().UnixMilli(), m.wall()
		for key, e := range m.records {
			if strings.HasPrefix(key, prefix) {
				expires := wall.Add(time.Duration(e.expires-now) * time.Millisecond)
				page = append(page, checks.Record{Key: key, Value: bytes.Clone(e.value), Expires: expires})
			}
		}
		return page, false, nil
	}
}

func (m *memory) probe(context.Context) error { return nil }

func (m *memory) trouble() error { return nil }

func (m *memory) size(context.Context) (records, octets int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	return int64(len(m.records)), m.octets
}

func (m *memory) place() string { return "" }

func (m *memory) close() error { return nil }

// live returns the record of a key, or nil. The caller holds the lock, as for all that follow.
func (m *memory) live(key string) *entry {
	e := m.records[key]
	if e != nil && e.expires <= m.now().UnixMilli() {
		m.drop(e)
		return nil
	}
	return e
}

// set writes a record, and makes room for it.
func (m *memory) set(key string, value []byte, ttl time.Duration) {
	if e := m.records[key]; e != nil {
		m.drop(e)
	}
	m.expire()
	e := &entry{key: key, value: append([]byte{}, value...), expires: deadline(m.now(), ttl)}
	for len(m.queue) > 0 && (len(m.records) >= m.maxRecords || m.octets+e.octets() > m.maxOctets) {
		m.drop(m.queue[0])
	}
	m.records[key] = e
	m.octets += e.octets()
	heap.Push(&m.queue, e)
}

// expire drops what has expired.
func (m *memory) expire() {
	now := m.now().UnixMilli()
	for len(m.queue) > 0 && m.queue[0].expires <= now {
		m.drop(m.queue[0])
	}
}

func (m *memory) drop(e *entry) {
	heap.Remove(&m.queue, e.index)
	delete(m.records, e.key)
	m.octets -= e.octets()
}
