package sender

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"milterd/checks"
)

const (
	// registeredPrefix begins the key of a domain. The record is when it was registered, in seconds since 1970, or unknown.
	registeredPrefix = "sender:registered:"
	// unknown is the record of a domain for which the registry has no date.
	unknown = "unknown"

	// knownFor is how long a date is remembered. It changes only if the domain is deleted and registered again, for which
	// registries need longer than that.
	knownFor = 30 * 24 * time.Hour
	// unknownFor is how long unknown is remembered. Most likely the registry has no RDAP server.
	unknownFor = 24 * time.Hour
	// failedFor is how long unknown is remembered after a failure. With half of it, a registry that is down gets twice as
	// many questions; with twice as much, new domains pass for longer after a failure.
	failedFor = 15 * time.Minute

	// maxAsking is the number of domains that registries are asked about at a time.
	maxAsking = 50
	// maxAsk is the time that a registry has to answer, including redirects.
	maxAsk = time.Minute
	// logEvery is the interval at which failures are logged. A site that cannot connect to registries fails for each domain.
	logEvery = time.Minute
)

// registrations looks up when domains were registered. It asks registries in the background and stores the answers. It is safe
// for concurrent use.
type registrations struct {
	server string // see checks.Registry
	env    checks.Env

	mu         sync.Mutex
	asking     map[string]bool // domains that a registry is being asked about
	lastLogged time.Time       // time of the last failure in the log
}

func newRegistrations(server string, env checks.Env) *registrations {
	return &registrations{server: server, env: env, asking: map[string]bool{}}
}

// lookup returns when a domain was registered, or the zero time if it is unknown. If the answer is not stored, it returns an
// error and has the registry asked.
func (reg *registrations) lookup(ctx context.Context, now time.Time, domain string) (time.Time, error) {
	value, _, err := reg.env.Store.Get(ctx, registeredPrefix+domain)
	if err != nil || string(value) == unknown {
		return time.Time{}, err
	}
	at, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil { // no record, or one of another version
		return time.Time{}, reg.start(now, domain)
	}
	return time.Unix(at, 0), nil
}

// start starts to ask about a domain, unless that goes on already. The error is why the date is not known now.
func (reg *registrations) start(now time.Time, domain string) error {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	if !reg.asking[domain] {
		if len(reg.asking) >= maxAsking {
			return fmt.Errorf("the registration date of %s is not known, and too many registries are being asked", domain)
		}
		reg.asking[domain] = true
		go reg.ask(now, domain)
	}
	return fmt.Errorf("the registration date of %s is not known yet, its registry is being asked", domain)
}

// ask asks the registry and stores the answer. It has a context of its own, as no mail waits for it.
func (reg *registrations) ask(now time.Time, domain string) {
	ctx, cancel := context.WithTimeout(context.Background(), maxAsk)
	defer cancel()
	defer func() {
		reg.mu.Lock()
		defer reg.mu.Unlock()
		delete(reg.asking, domain)
	}()
	value, ttl := unknown, unknownFor
	var at time.Time
	err := checks.Protect(func() (err error) {
		at, err = reg.env.Registry.Registered(ctx, reg.server, domain)
		return err
	})
	switch {
	case err != nil:
		ttl = failedFor
		reg.logFailure(now, domain, err)
	case !at.IsZero():
		value, ttl = strconv.FormatInt(at.Unix(), 10), knownFor
	}
	// ctx may be done if the registry did not answer. That must be stored nevertheless.
	if err := reg.env.Store.Put(context.WithoutCancel(ctx), registeredPrefix+domain, []byte(value), ttl); err != nil {
		reg.logFailure(now, domain, err)
	}
}

// logFailure logs a failure, at most one in logEvery.
func (reg *registrations) logFailure(now time.Time, domain string, err error) {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	if now.Sub(reg.lastLogged).Abs() < logEvery {
		return
	}
	reg.lastLogged = now
	reg.env.Log.WithError(err).WithField("domain", domain).Warn("could not look up when a domain was registered")
}
