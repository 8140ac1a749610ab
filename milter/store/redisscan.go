package store

import (
	"context"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	"milterd/checks"
)

// scan goes through the keys of all nodes and reads the values of a page in one round trip. A server may return a key
// more than once, and the replicas of a cluster return those of their primaries; seen removes the duplicates.
func (r *redis) scan(prefix string) func(context.Context) ([]checks.Record, bool, error) {
	var nodes []valkey.Client
	var cursor uint64
	seen := map[string]bool{}
	pattern := namespace + escapeGlob(prefix) + "*"
	return func(ctx context.Context) ([]checks.Record, bool, error) {
		c, err := r.connection()
		if err != nil {
			return nil, false, err
		}
		if nodes == nil {
			for _, n := range c.Nodes() {
				nodes = append(nodes, n)
			}
		}
		n := nodes[0]
		found, err := n.Do(ctx, n.B().Scan().Cursor(cursor).Match(pattern).Count(pageSize).Build()).AsScanEntry()
		if err != nil {
			return nil, false, r.explain(err)
		}
		var keys []string
		for _, key := range found.Elements {
			if !seen[key] {
				seen[key] = true
				keys = append(keys, key)
			}
		}
		if cursor = found.Cursor; cursor == 0 {
			nodes = nodes[1:]
		}
		page, err := r.values(ctx, c, keys)
		return page, len(nodes) > 0, err
	}
}

// values returns the records of keys, except those that have expired meanwhile.
func (r *redis) values(ctx context.Context, c valkey.Client, keys []string) ([]checks.Record, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	var commands valkey.Commands
	for _, key := range keys {
		commands = append(commands, c.B().Pttl().Key(key).Build(), c.B().Get().Key(key).Build())
	}
	results := c.DoMulti(ctx, commands...)
	var page []checks.Record
	for i, key := range keys {
		left, err := results[2*i].AsInt64()
		if err != nil {
			return nil, r.explain(err)
		}
		value, err := results[2*i+1].AsBytes()
		if valkey.IsValkeyNil(err) || left < 0 {
			continue
		}
		if err != nil {
			return nil, r.explain(err)
		}
		page = append(page, checks.Record{
			Key: strings.TrimPrefix(key, namespace), Value: value,
			Expires: r.now().Add(time.Duration(left) * time.Millisecond),
		})
	}
	return page, nil
}

// escapeGlob returns a glob pattern that matches s alone.
func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}
