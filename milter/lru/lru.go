// Package lru holds values in memory up to a total size. It serves the cache of DNS answers in milter/resolver and the
// cache of reads in milter/store.
package lru

import "container/list"

// Cache holds values up to a total size in bytes, and removes those that were not used for the longest time. It is not
// safe for concurrent use.
type Cache[K comparable, V any] struct {
	max, size int
	weight    func(K, V) int
	places    map[K]*list.Element
	used      list.List // of item[K, V], the last one used in front
}

type item[K comparable, V any] struct {
	key    K
	value  V
	weight int
}

// New returns a cache of at most max bytes. weight returns the memory that a value holds with its key, in bytes.
func New[K comparable, V any](max int, weight func(K, V) int) *Cache[K, V] {
	c := &Cache[K, V]{max: max, weight: weight}
	c.Clear()
	return c
}

// Get returns the value of a key.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	place, ok := c.places[key]
	if !ok {
		return value, false
	}
	c.used.MoveToFront(place)
	return place.Value.(*item[K, V]).value, true
}

// Set sets the value of a key. A value that is larger than the cache is not kept, and removes no other.
func (c *Cache[K, V]) Set(key K, value V) {
	c.Delete(key)
	weight := c.weight(key, value)
	if weight > c.max {
		return
	}
	c.places[key] = c.used.PushFront(&item[K, V]{key: key, value: value, weight: weight})
	c.size += weight
	for c.size > c.max {
		c.remove(c.used.Back())
	}
}

// Delete removes the value of a key, if there is one.
func (c *Cache[K, V]) Delete(key K) {
	if place, ok := c.places[key]; ok {
		c.remove(place)
	}
}

// Clear removes all values.
func (c *Cache[K, V]) Clear() {
	c.size = 0
	c.places = map[K]*list.Element{}
	c.used.Init()
}

// Len returns the number of values.
func (c *Cache[K, V]) Len() int { return len(c.places) }

// Size returns the size of all values in bytes.
func (c *Cache[K, V]) Size() int { return c.size }

func (c *Cache[K, V]) remove(place *list.Element) {
	old := c.used.Remove(place).(*item[K, V])
	delete(c.places, old.key)
	c.size -= old.weight
}
