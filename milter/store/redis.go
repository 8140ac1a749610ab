package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"
)

// Names in the server. What is not ours begins otherwise, and a Scan does not see the probe.
const (
	namespace = "milterd:"
	probeKey  = "milterd-probe"
)

// redis is the driver for Redis and Valkey. The client sends what many sessions ask at the same time together, over few
// connections, so that a command waits for one round trip but does not take one of its own.
type redis struct {
	options valkey.ClientOption
	shown   string // the address without the password
	now     func() time.Time

	mu     sync.Mutex
	client valkey.Client // nil: there was no connection yet
	closed bool
}

// addScript counts in one step, and gives a counter its end when it begins. The number is returned as text, for those of
// Lua are exact up to 2^53 only. An end that has passed deletes.
const addScript = `redis.call('INCRBY', KEYS[1], ARGV[1])
local total = redis.call('GET', KEYS[1])
if redis.call('PTTL', KEYS[1]) == -1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return total`

func newRedis(cfg Config) (*redis, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		// The text of the error has the URL, with the password.
		return nil, errors.New("the URL is no URL; special characters in a password are written as %XX")
	}
	options, err := valkey.ParseURL(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.Redacted(), err)
	}
	options.Dialer.Timeout = cfg.Timeout
	options.Dialer.KeepAlive = time.Second
	options.ConnWriteTimeout = cfg.Timeout
	options.Sentinel.Dialer = options.Dialer
	options.Sentinel.TLSConfig = options.TLSConfig
	// The caller knows what may be repeated: a counter may not.
	options.DisableRetry = true
	// Nothing is cached here: another host may change it.
	options.DisableCache = true
	options.ReadBufferEachConn, options.WriteBufferEachConn = 64<<10, 64<<10
	if options.ClientName == "" {
		options.ClientName = "milterd"
	}
	return &redis{options: options, shown: u.Redacted(), now: cfg.wall}, nil
}

func (r *redis) place() string { return r.shown }

func (r *redis) trouble() error { return nil }

// connection returns the client, which connects again by itself.
func (r *redis) connection() (valkey.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return nil, ErrClosed
	case r.client == nil:
		return nil, fmt.Errorf("%s: no connection yet", r.shown)
	}
	return r.client, nil
}

// connect makes the client if there is none: the library wants to see the server for that. The prober alone calls it.
func (r *redis) connect() (valkey.Client, error) {
	if c, err := r.connection(); err == nil || errors.Is(err, ErrClosed) {
		return c, err
	}
	c, err := valkey.NewClient(r.options)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.shown, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		c.Close()
		return nil, ErrClosed
	}
	r.client = c
	return c, nil
}

// do sends a command.
func (r *redis) do(ctx context.Context, build func(valkey.Builder) valkey.Completed) valkey.ValkeyResult {
	c, err := r.connection()
	if err != nil {
		return valkey.NewErrorResult(err)
	}
	return c.Do(ctx, build(c.B()))
}

func (r *redis) get(ctx context.Context, key string) ([]byte, bool, error) {
	value, err := r.do(ctx, func(b valkey.Builder) valkey.Completed { return b.Get().Key(namespace + key).Build() }).AsBytes()
	if valkey.IsValkeyNil(err) {
		return nil, false, nil
	}
	return value, err == nil, err
}

func (r *redis) put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return r.do(ctx, func(b valkey.Builder) valkey.Completed {
		return b.Set().Key(namespace + key).Value(string(value)).PxMilliseconds(millis(ttl)).Build()
	}).Error()
}

func (r *redis) putNew(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	err := r.do(ctx, func(b valkey.Builder) valkey.Completed {
		return b.Set().Key(namespace + key).Value(string(value)).Nx().PxMilliseconds(millis(ttl)).Build()
	}).Error()
	if valkey.IsValkeyNil(err) {
		return false, nil
	}
	return err == nil, err
}

func (r *redis) add(ctx context.Context, key string, n int64, ttl time.Duration) (int64, error) {
	c, err := r.connection()
	if err != nil {
		return 0, err
	}
	args := []string{strconv.FormatInt(n, 10), strconv.FormatInt(millis(ttl), 10)}
	text, err := c.Do(ctx, c.B().Eval().Script(addScript).Numkeys(1).Key(namespace+key).Arg(args...).Build()).ToString()
	if err != nil {
		if said, ok := valkey.IsValkeyErr(err); ok && isNumberFault(said.Error()) {
			return 0, ErrNotCounter
		}
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// isNumberFault knows what the servers say of INCRBY on something else.
func isNumberFault(said string) bool {
	return strings.Contains(said, "not an integer") || strings.Contains(said, "would overflow") || strings.Contains(said, "WRONGTYPE")
}

func (r *redis) remove(ctx context.Context, key string) error {
	return r.do(ctx, func(b valkey.Builder) valkey.Completed { return b.Del().Key(namespace + key).Build() }).Error()
}

// probe implements driver. It writes: a replica and a server without memory answer too, and are of no use.
func (r *redis) probe(ctx context.Context) error {
	c, err := r.connect()
	if err != nil {
		return err
	}
	return c.Do(ctx, c.B().Set().Key(probeKey).Value("1").PxMilliseconds(1000).Build()).Error()
}

// size implements driver: all keys of the database, for nothing else should be in it, and the memory of the server. Of a
// cluster it is unknown.
func (r *redis) size(ctx context.Context) (records, octets int64) {
	c, err := r.connection()
	if err != nil || c.Mode() == valkey.ClientModeCluster {
		return -1, -1
	}
	n, err := c.Do(ctx, c.B().Dbsize().Build()).AsInt64()
	if err != nil {
		return -1, -1
	}
	memory, err := c.Do(ctx, c.B().Info().Section("memory").Build()).ToString()
	if err != nil {
		return n, -1 // an account that may not ask
	}
	for line := range strings.Lines(memory) {
		if used, ok := strings.CutPrefix(line, "used_memory:"); ok {
			octets, err := strconv.ParseInt(strings.TrimSpace(used), 10, 64)
			if err == nil {
				return n, octets
			}
		}
	}
	return n, -1
}

func (r *redis) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.client != nil {
		r.client.Close()
	}
	return nil
}
