package main_test

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

// TestDomainAge has a registry that knows one young domain and one old, and of others nothing that helps: only what is known to
// be young is refused, and no mail ever waits for a registry.
func TestDomainAge(t *testing.T) {
	registered := func(at time.Time) string {
		return fmt.Sprintf(`{"objectClassName":"domain","events":[{"eventAction":"registration","eventDate":%q}]}`, at.UTC().Format(time.RFC3339))
	}
	var mu sync.Mutex
	asked := map[string]int{}
	slow := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		domain := path.Base(r.URL.Path)
		mu.Lock()
		asked[domain]++
		mu.Unlock()
		w.Header().Set("Content-Type", "application/rdap+json")
		switch domain {
		case "young.com":
			fmt.Fprint(w, registered(time.Now().Add(-24*time.Hour)))
		case "old.com":
			fmt.Fprint(w, registered(time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)))
		case "unknown.com":
			http.Error(w, `{"errorCode":404}`, http.StatusNotFound)
		case "broken.com":
			http.Error(w, "oops", http.StatusInternalServerError)
		case "malformed.com":
			fmt.Fprint(w, registered(time.Now())[:40])
		case "dateless.com":
			fmt.Fprint(w, `{"objectClassName":"domain","events":[{"eventAction":"registration","eventDate":"yesterday"}]}`)
		case "slow.com":
			<-slow
		}
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(slow) })
	harmless := []string{"old.com", "unknown.com", "broken.com", "malformed.com", "dateless.com", "slow.com"}
	zone := "young.com. MX 10 mx.sender.test.\nmx.sender.test. A 11.4.4.4\n"
	for _, domain := range harmless {
		zone += domain + ". MX 10 mx.sender.test.\n"
	}
	d := daemontest.Start(t, daemontest.Config{
		DNS: dnstest.Start(t, zone).Addr, Profile: "strict", Actions: daemontest.OnlyReason("domain-new", "reject"),
		Extra: fmt.Sprintf("budget: %s\nchecks: {sender: {new_domain: 30d, rdap: %q}}\n", budget, srv.URL),
	})
	mail := func(domain string) miltertest.Outcome {
		step := d.Play(t, daemontest.GoodSession(func(d *miltertest.Session) { d.MailFrom = "a@" + domain }))
		if step.Slowest > budget+leeway {
			t.Errorf("%s: a callback took %v", domain, step.Slowest)
		}
		return step
	}
	for _, domain := range append(harmless, "young.com") {
		if step := mail(domain); step.Event != 0 {
			t.Errorf("the first mail from %s: %s", domain, step.Response.Raw)
		}
		miltertest.Eventually(t, "the registry is asked about "+domain, func() bool {
			mail(domain) // after a failure, or when many ask at once, it takes another one
			mu.Lock()
			defer mu.Unlock()
			return asked[domain] > 0
		})
	}
	miltertest.Eventually(t, "the young domain is refused", func() bool {
		step := mail("young.com")
		if step.Event == 0 {
			return false
		}
		codes, _ := daemontest.ReadReply(t, step.Response)
		return codes == "550 5.7.1"
	})
	for _, domain := range harmless {
		if step := mail(domain); step.Event != 0 {
			t.Errorf("a later mail from %s: %s", domain, step.Response.Raw)
		}
	}
}
