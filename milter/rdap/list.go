package rdap

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// listURL is the address of the list of registries, RFC 9224.
	listURL = "https://data.iana.org/rdap/dns.json"
	// listMaxAge is the age after which the list is fetched again, RFC 9224 section 8.
	listMaxAge = 24 * time.Hour
)

// list has the RDAP servers of the top-level domains. It is fetched when it is needed, and kept in memory. It is safe for
// concurrent use.
type list struct {
	fetch func(context.Context) ([]byte, error)
	now   func() time.Time

	mu      sync.Mutex
	servers map[string][]*url.URL // by domain
	fetched time.Time
}

// lookup returns the base URLs of the servers for a domain, those with TLS first, RFC 9224 section 3. A top-level domain without
// RDAP has none. If the list cannot be fetched again, the old one is used.
func (l *list) lookup(ctx context.Context, domain string) ([]*url.URL, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.servers == nil || l.now().Sub(l.fetched) >= listMaxAge {
		if err := l.refresh(ctx); err != nil && l.servers == nil {
			return nil, err
		}
	}
	for name, ok := domain, true; ok; _, name, ok = strings.Cut(name, ".") {
		if servers := l.servers[name]; servers != nil {
			return servers, nil
		}
	}
	return nil, nil
}

// refresh fetches the list. After an error it is unchanged. The caller holds mu.
func (l *list) refresh(ctx context.Context) error {
	text, err := l.fetch(ctx)
	if err != nil {
		return err
	}
	servers, err := parseList(text)
	if err == nil {
		l.servers, l.fetched = servers, l.now()
	}
	return err
}

// parseList parses a list, RFC 9224 section 3. It leaves out URLs that it cannot parse.
func parseList(text []byte) (map[string][]*url.URL, error) {
	var file struct {
		Services [][][]string `json:"services"` // pairs of domains and their base URLs
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	servers := map[string][]*url.URL{}
	for _, s := range file.Services {
		if len(s) != 2 {
			return nil, errors.New("malformed list")
		}
		var urls []*url.URL
		for _, address := range s[1] {
			if u, err := url.Parse(address); err == nil {
				urls = append(urls, u)
			}
		}
		slices.SortStableFunc(urls, func(a, b *url.URL) int { return -strings.Compare(a.Scheme, b.Scheme) })
		for _, domain := range s[0] {
			servers[domain] = urls
		}
	}
	return servers, nil
}
