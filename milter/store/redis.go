package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"
)

// Keys in the server. Keys of milterd begin with namespace, except probeKey, which Scan must not return.
const (
	namespace = "milterd:"
	probeKey  = "milterd-probe"
)

// redis is the driver for Redis and Valkey. The client pipelines the commands of concurrent sessions over a few
// connections, so that they share round trips.
type redis struct {
	options valkey.ClientOption
	address string // without the password
	now     func() time.Time

	mu     sync.Mutex
	client valkey.Client // nil before the first connection
	closed bool
}

// CheckURL returns an error for a URL of a Redis with which Open would fail, or that has no valid port. The error does not contain
// the password.
func CheckURL(s string) error {
	_, _, err := parseURL(s)
	return err
}

// parseURL returns the options of a client, and the URL without its password.
func parseURL(s string) (options valkey.ClientOption, address string, err error) {
	u, err := url.Parse(s)
	if err != nil {
		// err contains the URL with the password.
		return options, "", errors.New("the URL is not valid; special characters in a password are written as %XX")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return options, "", fmt.Errorf("%s: %q is not a port; write a number from 1 to 65535", u.Redacted(), port)
		}
	}
	if options, err = valkey.ParseURL(s); err != nil {
		return options, "", fmt.Errorf("%s: %w", u.Redacted(), err)
	}
	return options, u.Redacted(), nil
}

func newRedis(cfg Config) (*redis, error) {
	options, address, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	options.Dialer.Timeout = cfg.Timeout
	options.Dialer.KeepAlive = time.Second
	options.ConnWriteTimeout = cfg.Timeout
	options.Sentinel.Dialer = options.Dialer
	options.Sentinel.TLSConfig = options.TLSConfig
	options.DisableRetry = true // a repeated Add would count twice
	options.DisableCache = true // other hosts change the records
	options.ReadBufferEachConn, options.WriteBufferEachConn = 64<<10, 64<<10
	options.ClientName = cmp.Or(options.ClientName, "milterd")
	return &redis{options: options, address: address, now: cfg.wall}, nil
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

// addScript adds to a counter atomically and sets the time to live of a new one. It returns the sum as text, because
// numbers of Lua are exact up to 2^53 only. A time to live of 0 deletes the counter.
const addScript = `redis.call('INCRBY', KEYS[1], ARGV[1])
local total = redis.call('GET', KEYS[1])
if redis.call('PTTL', KEYS[1]) == -1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return total`

func (r *redis) add(ctx context.Context, key string, n int64, ttl time.Duration) (int64, error) {
	text, err := r.do(ctx, func(b valkey.Builder) valkey.Completed {
		return b.Eval().Script(addScript).Numkeys(1).Key(namespace+key).
			Arg(strconv.FormatInt(n, 10), strconv.FormatInt(millis(ttl), 10)).Build()
	}).ToString()
	if err != nil {
		if reply, ok := errors.AsType[*valkey.ValkeyError](err); ok && isNotCounter(reply.Error()) {
			return 0, errNotCounter
		}
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// isNotCounter recognizes the errors of INCRBY for errNotCounter.
func isNotCounter(reply string) bool {
	return strings.Contains(reply, "not an integer") || strings.Contains(reply, "would overflow") ||
		strings.Contains(reply, "WRONGTYPE")
}

func (r *redis) remove(ctx context.Context, key string) error {
	return r.do(ctx, func(b valkey.Builder) valkey.Completed { return b.Del().Key(namespace + key).Build() }).Error()
}

// do sends a command. Its error is explained, unless it is valkey.Nil.
func (r *redis) do(ctx context.Context, build func(valkey.Builder) valkey.Completed) valkey.ValkeyResult {
	c, err := r.connection()
	if err != nil {
		return valkey.NewErrorResult(err)
	}
	result := c.Do(ctx, build(c.B()))
	if err := result.Error(); err != nil && !valkey.IsValkeyNil(err) {
		return valkey.NewErrorResult(r.explain(err))
	}
	return result
}

// explain returns an error with the address of the server, and with what the operator can do.
func (r *redis) explain(err error) error {
	reply, _, _ := strings.Cut(err.Error(), " ") // its first word is the kind of error
	switch {
	case reply == "NOAUTH":
		return fmt.Errorf("%s: the server wants a password (NOAUTH): write redis://USER:PASSWORD@HOST:PORT, or redis://:PASSWORD@HOST:PORT, in store.url", r.address)
	case reply == "WRONGPASS":
		return fmt.Errorf("%s: the server refuses the user or the password in store.url (WRONGPASS); special characters in it are written as %%XX", r.address)
	case reply == "NOPERM":
		return fmt.Errorf("%s: the user may not do all that milterd needs (see \"milterd doc greylisting\"): %w", r.address, err)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s: the server closed the connection: %w", r.address, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: no answer in time: %w", r.address, err)
	default:
		return fmt.Errorf("%s: %w", r.address, err)
	}
}

// connection returns the client, which reconnects by itself.
func (r *redis) connection() (valkey.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return nil, errClosed
	case r.client == nil:
		return nil, fmt.Errorf("%s: no connection yet", r.address)
	}
	return r.client, nil
}

// connect creates the client if there is none, for which the server must answer. Only probe calls it.
func (r *redis) connect() (valkey.Client, error) {
	if c, err := r.connection(); err == nil || errors.Is(err, errClosed) {
		return c, err
	}
	c, err := valkey.NewClient(r.options)
	switch {
	case err != nil && r.options.TLSConfig != nil && errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("%w; if the server has no TLS on this port, write redis:// in store.url", r.explain(err))
	case errors.Is(err, io.EOF) && r.options.TLSConfig == nil:
		return nil, fmt.Errorf("%w; if the server wants TLS on this port, write rediss:// in store.url", r.explain(err))
	case err != nil:
		return nil, r.explain(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		c.Close()
		return nil, errClosed
	}
	r.client = c
	return c, nil
}

// probe implements driver. It writes, because a replica or a server without memory would answer a read.
func (r *redis) probe(ctx context.Context) error {
	c, err := r.connect()
	if err != nil {
		return err
	}
	if err := c.Do(ctx, c.B().Set().Key(probeKey).Value("1").PxMilliseconds(1000).Build()).Error(); err != nil {
		return r.explain(err)
	}
	return nil
}

func (r *redis) degraded() error { return nil }

// size implements driver: all keys of the database, which should hold no others, and the memory of the server. For a
// cluster both are unknown.
func (r *redis) size(ctx context.Context) (records, bytes int64) {
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
		return n, -1 // the account may have no right to INFO
	}
	_, rest, _ := strings.Cut(memory, "used_memory:")
	used, _, _ := strings.Cut(rest, "\r\n")
	if bytes, err = strconv.ParseInt(used, 10, 64); err != nil {
		return n, -1
	}
	return n, bytes
}

func (r *redis) location() string { return r.address }

func (r *redis) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.client != nil {
		r.client.Close()
	}
	return nil
}
