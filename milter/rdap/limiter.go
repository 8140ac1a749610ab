package rdap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"milterd/checks"
)

const (
	// rateKey begins the counter of requests to a host within a minute.
	rateKey = "rdap:rate:"
	// awayKey begins the record of a host that wants to be left alone, or does not answer: why.
	awayKey = "rdap:away:"

	// awayUntold is how long a host is left alone that refused us and did not say for how long.
	awayUntold = 10 * time.Minute
	// awayMost bounds what a host may ask for.
	awayMost = 24 * time.Hour
	// awayDead is how long a host is left alone that cannot be reached, or does not answer in time.
	awayDead = time.Minute
)

// awayError says that a host was not asked: it wants to be left alone, or a limit of ours is reached.
type awayError struct{ host, why string }

// Error implements error.
func (e *awayError) Error() string { return e.host + " is not asked for now: " + e.why }

// manners is a http.RoundTripper that asks each host moderately.
type manners struct {
	store checks.Store
	now   func() time.Time
	next  *http.Transport
}

func newManners(store checks.Store, o options) *manners {
	d := &dialer{public: o.public}
	return &manners{store: store, now: o.now, next: &http.Transport{
		DialContext:            d.dial,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    o.timeout,
		ResponseHeaderTimeout:  o.timeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns:           16,
		IdleConnTimeout:        30 * time.Second,
	}}
}

// RoundTrip implements http.RoundTripper. It is called for each redirect too.
func (m *manners) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, host := req.Context(), strings.ToLower(req.URL.Host)
	if err := m.permit(ctx, host); err != nil {
		return nil, err
	}
	resp, err := m.next.RoundTrip(req)
	if err != nil {
		if !errors.Is(err, errNotPublic) {
			m.keepAway(ctx, host, awayDead, "it did not answer")
		}
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusForbidden:
		m.keepAway(ctx, host, retryAfter(resp.Header.Get("Retry-After"), m.now()), "it said "+resp.Status)
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxBody}
	return resp, nil
}

// permit takes a token for one request. The bucket is a counter in the store that begins with its first token and ends by
// itself: it is filled all at once and not drop by drop, which keeps one limit for all daemons in one step.
func (m *manners) permit(ctx context.Context, host string) error {
	why, away, err := m.store.Get(ctx, awayKey+host)
	if err != nil {
		return err
	}
	if away {
		return &awayError{host, string(why)}
	}
	n, err := m.store.Add(ctx, rateKey+host, 1, time.Minute)
	if err == nil && n > perMinute {
		err = &awayError{host, fmt.Sprintf("our limit of %d requests a minute is reached", perMinute)}
	}
	return err
}

// keepAway leaves a host alone for a while, even if it took so long to say so that nobody waits for it any more. If the
// store fails, there is the rate still.
func (m *manners) keepAway(ctx context.Context, host string, d time.Duration, why string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	_ = m.store.Put(ctx, awayKey+host, []byte(why), d)
}

// retryAfter reads the field of that name, RFC 9110 section 10.2.3: seconds or a date.
func retryAfter(value string, now time.Time) time.Duration {
	var d time.Duration
	if n, err := strconv.ParseUint(value, 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	} else {
		return awayUntold
	}
	return min(max(d, time.Second), awayMost)
}

// boundedBody fails when more is read than an answer may have, rather than end: half an answer is none.
type boundedBody struct {
	io.ReadCloser
	left int
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, fmt.Errorf("answer of more than %d octets", maxBody)
	}
	return n, err
}

// trustedKey is the key of the one host and port that may have any address.
type trustedKey struct{}

// trust lets a server have any address, for requests with this context. What it redirects to has no such right.
func trust(ctx context.Context, server *url.URL) context.Context {
	port := server.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[server.Scheme]
	}
	return context.WithValue(ctx, trustedKey{}, net.JoinHostPort(server.Hostname(), port))
}

// dialer connects to public addresses alone.
type dialer struct{ public func(netip.Addr) bool }

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialer net.Dialer
	if ctx.Value(trustedKey{}) != addr {
		dialer.Control = d.control
	}
	return dialer.DialContext(ctx, network, addr)
}

var errNotPublic = errors.New("the address is not public")

// control refuses after the name was looked up, so no DNS can say one thing to a check and another to the dialer.
func (d *dialer) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !d.public(to.Addr().Unmap().WithZone("")) {
		return errNotPublic
	}
	return nil
}

// notPublic are blocks of IANA's special-purpose registries (RFC 6890) that netip does not know by itself, where something
// may listen all the same. 6to4 and Teredo are among them: they hold an IPv4 address, and no registry has one.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("2001::/23"),
}

// nat64 holds an IPv4 address in its last 4 octets (RFC 6052 section 2.1): hosts without IPv4 reach registries by it.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// public tells whether an address is one of the public Internet.
func public(a netip.Addr) bool {
	if nat64.Contains(a) {
		octets := a.As16()
		return public(netip.AddrFrom4([4]byte(octets[12:])))
	}
	isIn := func(p netip.Prefix) bool { return p.Contains(a) }
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(notPublic, isIn)
}
