package rdap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"milterd/checks"
)

const (
	// rateKey, with a host, is the key of the counter of its requests within a minute.
	rateKey = "rdap:rate:"
	// backoffKey, with a host, is the key of the reason why it gets no requests.
	backoffKey = "rdap:backoff:"

	// defaultBackoff is for a host that refused a request without a Retry-After field.
	defaultBackoff = 10 * time.Minute
	// maxBackoff bounds the Retry-After field.
	maxBackoff = 24 * time.Hour
	// unreachableBackoff is for a host that did not answer.
	unreachableBackoff = time.Minute
)

// limiter is an http.RoundTripper that limits the rate of requests to each host, sends none while a host asks for a
// pause or does not answer, and bounds the size of answers. The state is in the store: the daemons that share it share
// the limits.
type limiter struct {
	store checks.Store
	now   func() time.Time
	next  *http.Transport
}

func newLimiter(store checks.Store, o options) *limiter {
	return &limiter{store: store, now: o.now, next: &http.Transport{
		DialContext:            dialer(o.public),
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    o.timeout,
		ResponseHeaderTimeout:  o.timeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns:           16,
		IdleConnTimeout:        30 * time.Second,
	}}
}

// RoundTrip implements http.RoundTripper. http.Client calls it for each redirect too.
func (l *limiter) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, host := req.Context(), strings.ToLower(req.URL.Host)
	if err := l.allow(ctx, host); err != nil {
		return nil, err
	}
	resp, err := l.next.RoundTrip(req)
	if err != nil {
		if !errors.Is(err, errNotPublic) {
			l.backOff(ctx, host, unreachableBackoff, "it did not answer")
		}
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusForbidden:
		l.backOff(ctx, host, retryAfter(resp.Header.Get("Retry-After"), l.now()), "it answered "+checks.Clean(resp.Status, maxShown))
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxBody}
	return resp, nil
}

// allow counts a request to a host. It returns an error if the request must not be sent. The counter expires a minute
// after its first request, so twice perMinute requests may be sent within some seconds.
func (l *limiter) allow(ctx context.Context, host string) error {
	why, pausing, err := l.store.Get(ctx, backoffKey+host)
	if err != nil {
		return err
	}
	if pausing {
		return fmt.Errorf("%s gets no request for now: %s", host, why)
	}
	n, err := l.store.Add(ctx, rateKey+host, 1, time.Minute)
	if err == nil && n > perMinute {
		err = fmt.Errorf("%s gets no request for now: the limit of %d requests a minute is reached", host, perMinute)
	}
	return err
}

// backOff stops requests to a host for a while. It works after the end of ctx too, because a request to a slow host ends
// with it. If the store fails, only the rate limit holds.
func (l *limiter) backOff(ctx context.Context, host string, d time.Duration, why string) {
	_ = l.store.Put(context.WithoutCancel(ctx), backoffKey+host, []byte(why), d) // the store limits the time of an operation
}

// retryAfter returns the pause that a Retry-After field asks for, in seconds or as a date, RFC 9110 section 10.2.3.
func retryAfter(field string, now time.Time) time.Duration {
	var d time.Duration
	if n, err := strconv.ParseUint(field, 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(field); err == nil {
		d = at.Sub(now)
	} else {
		return defaultBackoff
	}
	return min(max(d, time.Second), maxBackoff)
}

// boundedBody is a body that fails when more than a limit is read. It does not return io.EOF: a truncated answer could be
// valid.
type boundedBody struct {
	io.ReadCloser
	left int // bytes
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, fmt.Errorf("answer of more than %d bytes", maxBody)
	}
	return n, err
}
