// Package rdap asks domain registries when a domain was registered, by the Registration Data Access Protocol (RFC 7480,
// RFC 9082, RFC 9083).
//
// The protocol itself is openrdap's. What is here are the manners of a daemon that asks without being told to: it asks each
// registry a few times a minute, keeps away for as long as a registry wants (Retry-After), reads little, waits for a short
// time, and connects to no address that is not public, whatever a registry redirects to. Nothing of that is lost with a
// restart, nor multiplied by several hosts that share a store.
package rdap

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openrdap/rdap"
	"github.com/openrdap/rdap/bootstrap"

	"milterd/checks"
)

const (
	// timeout is how long one request may take, with its redirects.
	timeout = 20 * time.Second
	// perMinute is how many requests one host gets from all daemons that share the store. Registries publish no limits, but
	// the known ones are not lower.
	perMinute = 10
	// maxBody is the most octets of an answer that are read, decompressed. Answers have some ten thousand.
	maxBody = 1 << 20
	// maxRedirects is how often a request is sent on: from an aggregator to a registry, and from there to a new home.
	maxRedirects = 5
	// userAgent tells registries who asks.
	userAgent = "milterd (mail filter; domain age)"
)

// Client asks registries. It is safe for concurrent use.
type Client struct {
	http *http.Client

	mu   sync.Mutex // bootstrap.Client has no lock of its own
	boot *bootstrap.Client
}

// New makes a client. The store keeps what must outlast the daemon: the list of registries, and how often they were asked.
func New(store checks.Store) *Client {
	base, err := url.Parse(bootstrap.DefaultBaseURL)
	if err != nil {
		panic(err) // a constant
	}
	return newClient(store, options{bootstrap: base, now: time.Now, public: public, timeout: timeout})
}

// options are what tests change.
type options struct {
	bootstrap *url.URL              // folder with dns.json
	now       func() time.Time      // clock
	public    func(netip.Addr) bool // addresses that may be connected to
	timeout   time.Duration         // of one request
}

func newClient(store checks.Store, o options) *Client {
	h := &http.Client{
		Transport:     newManners(store, o),
		CheckRedirect: checkRedirect,
		Timeout:       o.timeout,
	}
	return &Client{http: h, boot: &bootstrap.Client{HTTP: h, BaseURL: o.bootstrap, Cache: &fileCache{store: store, now: o.now}}}
}

// checkRedirect follows redirects as RFC 7480 section 5.2 wants, to HTTP alone.
func checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case req.URL.Scheme != "https" && req.URL.Scheme != "http":
		return fmt.Errorf("redirect to %q", req.URL.Scheme)
	}
	return nil
}

// Registered returns when a domain (A-labels, lower case) was registered, the last time if it was several times. It is the
// zero time if nobody knows: the domain is not registered, there is no server for its top-level domain, or the server tells
// no date. The error means that it could not be found out now.
//
// server is the base URL of the server to ask, which the operator chose, so it may have any address; empty: the one that
// IANA lists for the top-level domain (RFC 9224).
func (c *Client) Registered(ctx context.Context, server, domain string) (time.Time, error) {
	if server != "" {
		u, err := url.Parse(server)
		if err != nil {
			return time.Time{}, fmt.Errorf("rdap: server: %w", err)
		}
		return c.ask(trust(ctx, u), u, domain)
	}
	servers, err := c.servers(ctx, domain)
	if err != nil {
		return time.Time{}, fmt.Errorf("rdap: list of registries: %w", err)
	}
	for _, u := range servers {
		var at time.Time
		if at, err = c.ask(ctx, u, domain); err == nil {
			return at, nil
		}
	}
	return time.Time{}, err
}

// servers lists the base URLs for a domain, those with TLS first (RFC 9224 section 3). There are none for a top-level domain
// without RDAP.
func (c *Client) servers(ctx context.Context, domain string) ([]*url.URL, error) {
	question := &bootstrap.Question{RegistryType: bootstrap.DNS, Query: domain}
	c.mu.Lock()
	answer, err := c.boot.Lookup(question.WithContext(ctx))
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	urls := slices.Clone(answer.URLs)
	slices.SortStableFunc(urls, func(a, b *url.URL) int { return -strings.Compare(a.Scheme, b.Scheme) })
	return urls, nil
}

// ask asks one server.
func (c *Client) ask(ctx context.Context, server *url.URL, domain string) (time.Time, error) {
	base := *server // Request.URL changes it
	request := (&rdap.Request{Type: rdap.DomainRequest, Query: domain, Server: &base}).WithContext(ctx)
	// rdap.Client is not for concurrent use, and holds nothing that costs.
	client := rdap.Client{HTTP: c.http, Bootstrap: c.boot, UserAgent: userAgent}
	answer, err := client.Do(request)
	if err != nil {
		if e, ok := errors.AsType[*rdap.ClientError](err); ok && e.Type == rdap.ObjectDoesNotExist {
			return time.Time{}, nil
		}
		return time.Time{}, fmt.Errorf("rdap: %s: %w", server.Host, cause(answer, err))
	}
	d, ok := answer.Object.(*rdap.Domain)
	switch {
	case !ok:
		return time.Time{}, fmt.Errorf("rdap: %s: the answer is no domain", server.Host)
	case d.LDHName != "" && !checks.SameName(d.LDHName, domain):
		return time.Time{}, fmt.Errorf("rdap: %s: the answer is about another domain, %q", server.Host, d.LDHName)
	}
	return registration(d.Events), nil
}

// cause is what the library's "no working servers" hides.
func cause(answer *rdap.Response, err error) error {
	if answer == nil || len(answer.HTTP) == 0 {
		return err
	}
	last := answer.HTTP[len(answer.HTTP)-1]
	switch {
	case last.Error != nil:
		return last.Error
	case last.Response != nil:
		return errors.New(last.Response.Status)
	default:
		return err
	}
}

// registration is the last time that a domain was registered, RFC 9083 section 10.2.3: a domain that was deleted and
// registered anew may have another owner. It is the zero time if no event says so in a way that can be understood.
func registration(events []rdap.Event) time.Time {
	var last time.Time
	for _, e := range events {
		switch strings.ToLower(e.Action) {
		case "registration", "reregistration", "reinstantiation":
			if at, ok := parseDate(e.Date); ok && at.After(last) {
				last = at
			}
		}
	}
	return last
}

// layouts are the forms in which registries write dates. RFC 9083 section 4.5 has RFC 3339, the first; what has no time zone
// is taken as UTC, which may be wrong by half a day.
var layouts = [...]string{
	time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05Z07", "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00",
	"2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", time.DateOnly, "20060102", "2006.01.02",
}

// parseDate reads a date of a registry. What cannot be one, before domains were registered, is none: some registries write
// 1900 or year 1 for "long ago".
func parseDate(text string) (time.Time, bool) {
	text = strings.ToUpper(strings.TrimSpace(text)) // RFC 3339 section 5.6: "t" and "z" may be in lower case
	for _, layout := range layouts {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), at.Year() >= 1983 && at.Year() < 9999
		}
	}
	return time.Time{}, false
}
