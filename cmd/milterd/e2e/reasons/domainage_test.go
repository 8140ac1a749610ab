package reasons

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"sync"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// registry is an RDAP server that knows one young domain and one old one, and fails for the others.
type registry struct {
	*httptest.Server
	end chan struct{} // closed at the end of the test

	mu      sync.Mutex
	queries map[string]int // by domain
}

func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{end: make(chan struct{}), queries: map[string]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	t.Cleanup(func() { close(r.end) })
	return r
}

func (r *registry) serve(w http.ResponseWriter, req *http.Request) {
	domain := path.Base(req.URL.Path)
	r.mu.Lock()
	r.queries[domain]++
	r.mu.Unlock()
	w.Header().Set("Content-Type", "application/rdap+json")
	switch domain {
	case "young.com":
		fmt.Fprint(w, registeredAt(time.Now().Add(-24*time.Hour)))
	case "old.com":
		fmt.Fprint(w, registeredAt(time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)))
	case "unknown.com":
		http.Error(w, `{"errorCode":404}`, http.StatusNotFound)
	case "broken.com":
		http.Error(w, "error", http.StatusInternalServerError)
	case "malformed.com":
		fmt.Fprint(w, registeredAt(time.Now())[:40])
	case "dateless.com":
		fmt.Fprint(w, `{"objectClassName":"domain","events":[{"eventAction":"registration","eventDate":"yesterday"}]}`)
	case "slow.com":
		<-r.end
	}
}

// registeredAt is the RDAP response for a domain.
func registeredAt(at time.Time) string {
	return fmt.Sprintf(`{"objectClassName":"domain","events":[{"eventAction":"registration","eventDate":%q}]}`, at.UTC().Format(time.RFC3339))
}

// queried reports whether the registry was queried for a domain.
func (r *registry) queried(domain string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.queries[domain] > 0
}

// TestDomainAge tests that only the domain that is known to be young is refused, and that no mail waits for a registry.
func TestDomainAge(t *testing.T) {
	t.Parallel()
	others := []string{"old.com", "unknown.com", "broken.com", "malformed.com", "dateless.com", "slow.com"}
	zone := "young.com. MX 10 mx.sender.test.\nmx.sender.test. A 11.4.4.4\n"
	for _, domain := range others {
		zone += domain + ". MX 10 mx.sender.test.\n"
	}
	const budget = time.Second // a query that mail waits for lasts until the daemon gives up, after a minute
	r := newRegistry(t)
	d := daemontest.Start(t, daemontest.Config{
		DNS: dnstest.Start(t, zone).Addr, Profile: "strict", Actions: daemontest.OnlyReason("domain-new", "reject"),
		Extra: fmt.Sprintf("budget: %s\nchecks: {sender: {new_domain: 30d, rdap: %q}}\n", budget, r.URL),
	})
	mail := func(domain string) miltertest.Outcome {
		outcome := d.Play(t, daemontest.SessionFrom("a@"+domain))
		if outcome.Slowest > budget+miltertest.Leeway {
			t.Errorf("%s: a response took %v", domain, outcome.Slowest)
		}
		return outcome
	}
	for _, domain := range append(others, "young.com") {
		if outcome := mail(domain); outcome.Event != 0 {
			t.Errorf("first mail from %s: %s", domain, outcome.Response.Raw)
		}
		miltertest.Eventually(t, "the registry is queried for "+domain, func() bool {
			mail(domain) // the daemon drops queries after a failure and when there are many
			return r.queried(domain)
		})
	}
	miltertest.Eventually(t, "the young domain is refused", func() bool {
		outcome := mail("young.com")
		if outcome.Event == 0 {
			return false
		}
		codes, _ := daemontest.ReadReply(t, outcome.Response)
		return codes == "550 5.7.1"
	})
	for _, domain := range others {
		if outcome := mail(domain); outcome.Event != 0 {
			t.Errorf("later mail from %s: %s", domain, outcome.Response.Raw)
		}
	}
}
