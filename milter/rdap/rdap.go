// Package rdap asks domain registries when a domain was registered, by the Registration Data Access Protocol (RFC 7480,
// RFC 9082, RFC 9083). The check sender uses it for the reason domain-new.
//
// A list that IANA publishes says which registry serves a top-level domain (list.go). limiter bounds the rate of requests to
// each registry and obeys Retry-After; its state is in the store, so it survives a restart and holds for all hosts of a
// site. dialer connects to public addresses only. Start reading at Client.
package rdap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

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
	list *list
}

// New returns a Client that keeps its limits in the store.
func New(store checks.Store) *Client {
	return newClient(store, options{list: listURL, now: time.Now, public: public, timeout: timeout})
}

// options has what tests change.
type options struct {
	list    string                // URL of the list of registries
	now     func() time.Time      // clock
	public  func(netip.Addr) bool // addresses that may be connected to
	timeout time.Duration         // of one request
}

func newClient(store checks.Store, o options) *Client {
	c := &Client{http: &http.Client{Transport: newLimiter(store, o), CheckRedirect: checkRedirect, Timeout: o.timeout}}
	c.list = &list{now: o.now, fetch: func(ctx context.Context) ([]byte, error) { return c.get(ctx, o.list) }}
	return c
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
	servers, err := c.list.lookup(ctx, domain)
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

// ask asks one server when a domain was registered, see Registered.
func (c *Client) ask(ctx context.Context, server *url.URL, domain string) (at time.Time, err error) {
	text, err := c.get(ctx, server.JoinPath("domain", url.PathEscape(domain)).String())
	if errors.Is(err, errNotFound) {
		return time.Time{}, nil
	}
	if err == nil {
		at, err = registration(text, domain)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("rdap: %s: %s", server.Host, checks.Clean(err.Error(), maxShown))
	}
	return at, nil
}

// errNotFound is the error of get for an object that does not exist.
var errNotFound = errors.New("404 Not Found")

// get returns the body of an answer.
func (c *Client) get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/rdap+json, application/json")
	req.Header.Set("User-Agent", userAgent)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return nil, errNotFound
	case resp.StatusCode/100 != 2:
		return nil, errors.New(resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// registration returns when a domain was registered last, from the answer of a registry, RFC 9083 section 10.2.3. A domain that
// was deleted and registered again may have another owner. It returns the zero time if no event has a valid date.
func registration(text []byte, domain string) (last time.Time, err error) {
	var answer struct {
		Class  string          `json:"objectClassName"`
		Name   string          `json:"ldhName"`
		Events json.RawMessage `json:"events"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return time.Time{}, err
	}
	switch {
	case answer.Class != "domain":
		return time.Time{}, errors.New("the answer has no domain")
	case answer.Name != "" && !checks.SameName(answer.Name, domain):
		return time.Time{}, fmt.Errorf("the answer is about another domain, %q", checks.Clean(answer.Name, maxShown))
	}
	var events []json.RawMessage // each by itself, as some registries write events of other types
	_ = json.Unmarshal(answer.Events, &events)
	for _, text := range events {
		var e struct {
			Action string `json:"eventAction"`
			Date   string `json:"eventDate"`
		}
		if json.Unmarshal(text, &e) != nil {
			continue
		}
		switch strings.ToLower(e.Action) {
		case "registration", "reregistration", "reinstantiation":
			if at, ok := parseDate(e.Date); ok && at.After(last) {
				last = at
			}
		}
	}
	return last, nil
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
