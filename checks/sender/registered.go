package sender

import (
	"context"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"milterd/checks"
)

const (
	// registeredKey begins the record of a domain: when it was registered, in seconds since 1970, or unknown.
	registeredKey = "sender:registered:"
	// unknown is the record of a domain of which nobody knows.
	unknown = "unknown"

	// knownFor is how long a date is remembered. It stays as it is until the domain is deleted and registered anew, which
	// registries let take longer than that.
	knownFor = 30 * 24 * time.Hour
	// unknownFor is the same for a domain of which nobody knows: most likely its registry has no RDAP server.
	unknownFor = 24 * time.Hour
	// failedFor is how long a domain counts as unknown because its registry could not be asked.
	failedFor = 15 * time.Minute

	// maxAsking is how many domains are asked about at a time.
	maxAsking = 50
	// maxAsk is how long it may take, in the background, with all redirects.
	maxAsk = time.Minute
)

// registrations remembers what the registry says, and asks it in the background, once about each domain.
type registrations struct {
	server string
	env    checks.Env

	mu         sync.Mutex
	asking     map[string]bool
	complained atomic.Int64 // when a failure was logged last, in Unix seconds
}

// look returns when a domain was registered, the zero time if that is unknown. The error means that the registry is being
// asked, or that nobody could be asked, by a limit of ours.
func (r *registrations) look(ctx context.Context, now time.Time, domain string) (time.Time, error) {
	value, ok, err := r.env.Store.Get(ctx, registeredKey+domain)
	switch {
	case err != nil:
		return time.Time{}, err
	case !ok:
		return time.Time{}, r.ask(now, domain)
	case string(value) == unknown:
		return time.Time{}, nil
	}
	at, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("sender: registration of %s: %w", domain, err)
	}
	return time.Unix(at, 0), nil
}

// ask begins to ask about a domain, if nobody does. It always returns an error: what it will be good for.
func (r *registrations) ask(now time.Time, domain string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.asking[domain] {
		if len(r.asking) >= maxAsking {
			return fmt.Errorf("when %s was registered is not known, and too many registries are being asked", domain)
		}
		r.asking[domain] = true
		go r.find(now, domain)
	}
	return fmt.Errorf("when %s was registered is not known yet, its registry is being asked", domain)
}

// find asks the registry. It has a context of its own: no mail waits for it.
func (r *registrations) find(now time.Time, domain string) {
	ctx, cancel := context.WithTimeout(context.Background(), maxAsk)
	defer cancel()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.asking, domain)
	}()
	value, ttl := unknown, unknownFor
	at, err := r.registered(ctx, domain)
	switch {
	case err != nil:
		ttl = failedFor
		r.complain(now, domain, err)
	case !at.IsZero():
		value, ttl = strconv.FormatInt(at.Unix(), 10), knownFor
	}
	// The time for asking may be over, but not that for remembering.
	if err := r.env.Store.Put(context.WithoutCancel(ctx), registeredKey+domain, []byte(value), ttl); err != nil {
		r.complain(now, domain, err)
	}
}

// registered contains a panic: in a goroutine of its own it would end the daemon.
func (r *registrations) registered(ctx context.Context, domain string) (at time.Time, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &checks.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return r.env.Registry.Registered(ctx, r.server, domain)
}

// complain logs a failure, once a minute at most: a site that may not connect to registries would fail at each domain.
func (r *registrations) complain(now time.Time, domain string, err error) {
	last := r.complained.Load()
	if ago := now.Unix() - last; (ago < 0 || ago >= 60) && r.complained.CompareAndSwap(last, now.Unix()) {
		r.env.Log.WithError(err).WithField("domain", domain).Warn("could not find out when a domain was registered")
	}
}
