package pages

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// daemonWithPages is a daemon with pages for senders and operators.
type daemonWithPages struct {
	*daemontest.Daemon
	admin string // URL of the operator's pages
	home  string // URL of the sender's pages
}

func startWithPages(t *testing.T, dns string) daemonWithPages {
	t.Helper()
	admin, explain := miltertest.Loopback()+":8893", daemontest.ExplainConfig(t.TempDir())
	c := daemontest.Config{DNS: dns, Profile: "strict", Actions: map[string]string{"first-contact": "off"}}
	c.Extra = explain + fmt.Sprintf("admin: {listen: %q, socket: \"\"}\n", admin)
	home := regexp.MustCompile(`url: "([^"]*)"`).FindStringSubmatch(explain)[1]
	return daemonWithPages{Daemon: daemontest.Start(t, c), admin: "http://" + admin, home: home}
}

// metric returns a metric of the daemon.
func (d daemonWithPages) metric(t *testing.T, name string) float64 {
	t.Helper()
	return daemontest.Metric(t, d.admin+"/metrics", name)
}

// refuse refuses a message, and returns the path of the link in the reply.
func (d daemonWithPages) refuse(t *testing.T) (path string) {
	t.Helper()
	outcome := d.Play(t, daemontest.GoodSession(func(s *miltertest.Session) { s.Client, s.ClientName = "127.0.0.13", "[127.0.0.13]" }))
	_, text := daemontest.ReadReply(t, outcome.Response)
	_, link, _ := strings.Cut(text, "; ")
	miltertest.Eventually(t, "the page shows the session", func() bool {
		_, page := daemontest.GetText(t, link)
		return strings.Contains(page, "What we saw")
	})
	return strings.TrimPrefix(link, d.home)
}

// flood sends requests for the pages, and every tenth one to test the refusal at a path again. It returns the number of
// responses by status.
func (d daemonWithPages) flood(t *testing.T, refusal string, clients, requests int) map[int]int {
	paths := []string{
		"/why/", "/why/rdns-missing", refusal, "/why/rdns-missing?r=" + strings.Repeat("a", 48), "/why/" + strings.Repeat("x", 4000),
		"/why?sender=a@sender.test&ip=127.0.0.13&receiver=mx.test", "/why/style.css", "/nothing",
	}
	var mu sync.Mutex
	codes := map[int]int{}
	var running sync.WaitGroup
	for n := range clients {
		running.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: miltertest.WaitTimeout}
			defer client.CloseIdleConnections()
			for i := range requests / clients {
				method, path := http.MethodGet, paths[(i+n)%len(paths)]
				if i%10 == 0 {
					method, path = http.MethodPost, refusal
				}
				code, err := send(client, method, d.home+path)
				if err != nil {
					t.Errorf("%s %s: %v", method, path, err)
					return
				}
				mu.Lock()
				codes[code]++
				mu.Unlock()
			}
		})
	}
	running.Wait()
	return codes
}

// send sends a request, reads the response and returns its status.
func send(client *http.Client, method, url string) (status int, err error) {
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// latency returns the median duration of sessions with good mail, of which it plays at least 20, while a function runs.
func (d daemonWithPages) latency(t *testing.T, during func()) time.Duration {
	over := make(chan struct{})
	go func() { defer close(over); during() }()
	var took []time.Duration
	for {
		select {
		case <-over:
			if len(took) >= 20 {
				slices.Sort(took)
				return took[len(took)/2]
			}
		default:
		}
		began := time.Now()
		if outcome := d.Play(t, daemontest.GoodSession()); outcome.Event != 0 {
			t.Fatalf("good mail was refused: %q", outcome.Response.Raw)
		}
		took = append(took, time.Since(began))
	}
}

// TestManyRequests sends two thousand requests to the pages of a daemon while it filters mail. They must not slow down the mail
// more than requests to another daemon on the same machine, and must leave no goroutines, files or memory behind.
func TestManyRequests(t *testing.T) {
	const clients, requests, requestsElsewhere = 20, 2_000, 500
	const name = "13.0.0.127.in-addr.arpa." // what the tests of the refusal look up
	server := dnstest.Start(t, daemontest.World)
	d, other := startWithPages(t, server.Addr), startWithPages(t, dnstest.Start(t, daemontest.World).Addr)
	refusal, otherRefusal := d.refuse(t), other.refuse(t)
	quiet := d.latency(t, func() {})
	goroutines, files, heap := d.metric(t, "go_goroutines"), d.metric(t, "process_open_fds"), d.metric(t, "go_memstats_heap_inuse_bytes")

	var codes map[int]int
	slow, asked := true, 0
	for range 3 { // other work on the machine may slow down a round
		elsewhere := d.latency(t, func() { other.flood(t, otherRefusal, clients, requestsElsewhere) })
		asked = server.Asked(name, dns.TypePTR)
		busy := d.latency(t, func() { codes = d.flood(t, refusal, clients, requests) })
		t.Logf("a session takes %v, %v during requests to the other daemon, %v during requests to its own; responses: %v", quiet, elsewhere, busy, codes)
		// On a loaded machine the clients do not reach the limit of pages that protects the mail.
		limited := codes[429] > requests/5
		if slow = limited && busy > 3*elsewhere+10*time.Millisecond; !slow {
			break
		}
	}
	if slow {
		t.Error("requests to the daemon slow down its sessions, three times in a row")
	}
	if codes[429] == 0 || codes[200] == 0 || codes[404] == 0 || codes[200]+codes[404]+codes[429] != requests {
		t.Errorf("responses: %v", codes)
	}
	if n := server.Asked(name, dns.TypePTR) - asked; n == 0 || n > 40 {
		t.Errorf("%d DNS queries for tests of the refusal", n)
	}
	miltertest.Eventually(t, "goroutines and files of the requests are gone", func() bool {
		return d.metric(t, "go_goroutines") <= goroutines+10 && d.metric(t, "process_open_fds") <= files+10
	})
	if now := d.metric(t, "go_memstats_heap_inuse_bytes"); now > heap+64<<20 {
		t.Errorf("the heap grew from %.0f to %.0f bytes", heap, now)
	}
}

// TestSilentConnections opens more connections to the pages than milterd accepts, and sends nothing on them.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	const most, spare = 200, 30
	d := startWithPages(t, dnstest.Start(t, daemontest.World).Addr)
	before := d.metric(t, "process_open_fds")
	for range 2 * most {
		conn, err := net.Dial("tcp", strings.TrimPrefix(d.home, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	miltertest.Eventually(t, "the connections are accepted", func() bool { return d.metric(t, "process_open_fds") > before+most/2 })
	if outcome := d.Play(t, daemontest.GoodSession()); outcome.Event != 0 {
		t.Errorf("good mail was refused: %q", outcome.Response.Raw)
	}
	if now := d.metric(t, "process_open_fds"); now > before+most+spare {
		t.Errorf("%.0f files are open, %.0f before", now, before)
	}
}
