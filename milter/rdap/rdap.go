// Package rdap asks domain registries when a domain was registered, by the Registration Data Access Protocol (RFC 7480,
// RFC 9082, RFC 9083). The check sender uses it for the reason domain-new.
//
// The library openrdap implements the protocol. This package limits what a daemon may do with it: limiter bounds the
// rate of requests to each registry and obeys Retry-After, dialer connects to public addresses only, and fileCache
// keeps the list of registries. Their state is in the store, so it survives a restart and holds for all hosts of a
// site. Start reading at Client.
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
	// timeout bounds one request with its redirects.
	timeout = 20 * time.Second
	// perMinute is how many requests in a minute one host gets from all daemons that share the store. Most registries
	// publish no limit; the known limits are not lower. With half of it, the age of more new domains is unknown in a
	// busy minute; with twice as much, a registry may refuse all requests.
	perMinute = 10
	// maxBody is the size of the largest answer after decompression. Usual answers have some ten thousand bytes.
	maxBody = 1 << 20 // bytes
	// maxShown is how much of a text of a server an error has.
	maxShown = 200 // bytes
	// maxRedirects is the number of redirects of a request: an aggregator redirects to a registry, and that to a new
	// address.
	maxRedirects = 5
	// userAgent identifies milterd to registries.
	userAgent = "milterd (mail filter; domain age)"
)

// Client asks registries. It is safe for concurrent use.
type Client struct {
	http *http.Client

	mu   sync.Mutex // bootstrap.Client has no lock of its own
	boot *bootstrap.Client
}

// New returns a Client that keeps its state in the store.
func New(store checks.Store) *Client {
	base, err := url.Parse(bootstrap.DefaultBaseURL)
	if err != nil {
		panic(err) // a constant
	}
	return newClient(store, options{bootstrap: base, now: time.Now, public: public, timeout: timeout})
}

// options has what tests change.
type options struct {
	bootstrap *url.URL              // folder with dns.json
	now       func() time.Time      // clock
	public    func(netip.Addr) bool // addresses that may be connected to
	timeout   time.Duration         // of one request
}

func newClient(store checks.Store, o options) *Client {
	h := &http.Client{
		Transport:     newLimiter(store, o),
		CheckRedirect: checkRedirect,
		Timeout:       o.timeout,
	}
	return &Client{http: h, boot: &bootstrap.Client{HTTP: h, BaseURL: o.bootstrap, Cache: &fileCache{store: store, now: o.now}}}
}

// checkRedirect follows redirects to HTTP and HTTPS, RFC 7480 section 5.2.
func checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case req.URL.Scheme != "https" && req.URL.Scheme != "http":
		return fmt.Errorf("redirect to %q", req.URL.Scheme)
	}
	return nil
}

// Registered returns when a domain (A-labels, lower case) was last registered. It returns the zero time if the domain is
// not registered, its top-level domain has no server, or the server has no date. An error is temporary.
//
// server is the base URL of a server that the operator chose, which may have any address. If it is empty, the servers
// are those that IANA lists for the top-level domain, RFC 9224.
func (c *Client) Registered(ctx context.Context, server, domain string) (time.Time, error) {
	if server != "" {
		u, err := url.Parse(server)
		if err != nil {
			return time.Time{}, fmt.Errorf("rdap: server: %w", err)
		}
		return c.ask(allowAnyAddress(ctx, u), u, domain)
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

// servers returns the base URLs of the servers for a domain, those with TLS first, RFC 9224 section 3. A top-level
// domain without RDAP has none.
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

// ask asks one server when a domain was registered, see Registered.
func (c *Client) ask(ctx context.Context, server *url.URL, domain string) (time.Time, error) {
	base := *server // Request.URL modifies it
	request := (&rdap.Request{Type: rdap.DomainRequest, Query: domain, Server: &base}).WithContext(ctx)
	// rdap.Client is not safe for concurrent use, and has no state of its own.
	client := rdap.Client{HTTP: c.http, Bootstrap: c.boot, UserAgent: userAgent}
	answer, err := client.Do(request)
	if err != nil {
		if e, ok := errors.AsType[*rdap.ClientError](err); ok && e.Type == rdap.ObjectDoesNotExist {
			return time.Time{}, nil
		}
		return time.Time{}, fmt.Errorf("rdap: %s: %s", server.Host, checks.Clean(cause(answer, err).Error(), maxShown))
	}
	d, ok := answer.Object.(*rdap.Domain)
	switch {
	case !ok:
		return time.Time{}, fmt.Errorf("rdap: %s: the answer has no domain", server.Host)
	case d.LDHName != "" && !checks.SameName(d.LDHName, domain):
		return time.Time{}, fmt.Errorf("rdap: %s: the answer is about another domain, %q", server.Host, checks.Clean(d.LDHName, maxShown))
	}
	return registration(d.Events), nil
}

// cause returns the error behind the library's "no working servers".
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

// registration returns when a domain was registered last, RFC 9083 section 10.2.3. A domain that was deleted and
// registered again may have another owner. It returns the zero time if no event has a valid date.
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

// layouts are the date formats of registries. RFC 9083 section 4.5 requires RFC 3339. A date without a time zone is
// read as UTC, which may be wrong by half a day.
var layouts = [...]string{
	time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05Z07", "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00",
	"2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", time.DateOnly, "20060102", "2006.01.02",
}

// parseDate parses a date of a registry. It rejects dates before the first domains: some registries write 1900 or year
// 1 for an unknown date.
func parseDate(text string) (time.Time, bool) {
	text = strings.ToUpper(strings.TrimSpace(text)) // RFC 3339 section 5.6 allows "t" and "z"
	for _, layout := range layouts {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), at.Year() >= 1983 && at.Year() < 9999
		}
	}
	return time.Time{}, false
}
