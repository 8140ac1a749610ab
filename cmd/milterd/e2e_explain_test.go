package main_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
	"milterd/milter/web/webtest"
)

// checkLink opens the link of a reply, which leads to the page of the reason with what was seen and how to repair it.
func checkLink(t *testing.T, link string, reason *checks.Reason, reply string) {
	t.Helper()
	if !strings.Contains(link, "/why/"+reason.ID+"?r=") {
		t.Fatalf("the reply to %s has the link %q", reason.ID, link)
	}
	var code int
	var text string
	miltertest.Eventually(t, "the record of "+link+" is written", func() bool {
		code, text = daemontest.GetText(t, link)
		return strings.Contains(text, "What we saw") || code != 200
	})
	reply = strings.ReplaceAll(reply, "<alice@", "<…@") // whom the mail was for, is not for everybody who gets the link
	for _, want := range []string{reply, reason.Why, reason.Remedy, "How to repair it"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s: %d, no %q in %s", link, code, want, text)
		}
	}
}

// zoneWith is a zone with the records of a page, which replace the texts at their names.
func zoneWith(zone string, records []string) string {
	lines := strings.Split(zone, "\n")
	for _, r := range records {
		name, rest, _ := strings.Cut(r, " IN ")
		lines = slices.DeleteFunc(lines, func(l string) bool {
			f := strings.Fields(l)
			return len(f) > 2 && f[0] == name && f[1] == "TXT" && strings.HasPrefix(rest, "TXT ")
		})
		lines = append(lines, name+" "+rest)
	}
	return strings.Join(lines, "\n")
}

// TestARefusalIsRepaired walks the way of a postmaster whose mail was refused: from the reply of a Postfix by its link to the page,
// which says what to put into the DNS, until his mail is in the mailbox. The operator's page shows both.
func TestARefusalIsRepaired(t *testing.T) {
	miltertest.Require(t)
	webtest.Require(t)
	site := miltertest.NewSite(t, daemontest.World)
	postfix := site.Postfix(t)
	c := daemontest.StrictConfig(site)
	admin := net.JoinHostPort(miltertest.Loopback(), "8893")
	c.Extra = daemontest.ExplainConfig(site.Dir) + fmt.Sprintf("admin: {listen: %q, socket: \"\"}\n", admin)
	b := &daemontest.MailServer{MTA: postfix, Site: site, Daemon: daemontest.StartInSite(t, site, c, postfix)}
	const source, helo = "127.0.0.14", "fourteen.client.test"

	conn := b.Connect(t, source, helo)
	conn.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	reply := conn.Cmd("RCPT TO:<alice@mx.test>")
	daemontest.WantReply(t, reply, "550 5.7.25", source+" has no reverse DNS name; http://")
	last := reply.Lines[len(reply.Lines)-1]
	link := last[strings.LastIndex(last, " ")+1:]

	tab := webtest.Start(t).Tab(t)
	miltertest.Eventually(t, "the page shows what was seen", func() bool {
		return tab.Open(link) == 200 && strings.Contains(tab.Text("main"), "What we saw")
	})
	page := tab.Text("main")
	for _, want := range []string{
		"The address of your server has no reverse DNS name", "550 5.7.25 " + source + " has no reverse DNS name",
		"Address of your server " + source, "Its name in HELO " + helo, "Sender (MAIL FROM) " + daemontest.GoodSender, "Domain of the recipient mx.test",
		"14.0.0.127.in-addr.arpa. PTR no such name",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in %s", want, page)
		}
	}
	if strings.Contains(page, "alice") {
		t.Errorf("the page names the recipient: %s", page)
	}

	if code := tab.Click("button"); code != 200 || !strings.Contains(tab.Text("main"), "Not yet repaired") {
		t.Fatalf("before the repair: %d %s", code, tab.Text("main"))
	}
	records := webtest.Evaluate[[]string](tab, `[...document.querySelectorAll(".record")].map(e => e.textContent)`)
	if err := site.DNS.Set(zoneWith(daemontest.World, records)); err != nil {
		t.Fatalf("the records of the page: %v", err)
	}
	if code := tab.Click("button"); code != 200 || !strings.Contains(tab.Text("main"), "The DNS records are correct now. Send the message again.") {
		t.Fatalf("with the records %q: %d %s", records, code, tab.Text("main"))
	}
	b.Deliver(t, b.Connect(t, source, helo), daemontest.GoodSender, "alice")

	decisions := "http://" + admin + "/refusals?action=all&client=" + source
	miltertest.Eventually(t, "the operator's page shows what was refused and what was accepted then", func() bool {
		if code := tab.Open(decisions); code != 200 {
			t.Fatalf("%s: %d %s", decisions, code, tab.Text("body"))
		}
		return strings.Contains(tab.Text(".records"), "accept")
	})
	list := tab.Text(".records")
	for _, want := range []string{"reject rdns-missing 550 5.7.25 " + source + " has no reverse DNS name", source + " " + helo, "<" + daemontest.GoodSender + "> to → <alice@mx.test>"} {
		if !strings.Contains(list, want) {
			t.Errorf("no %q in %s", want, list)
		}
	}
	if strings.Index(list, "accept") > strings.Index(list, "reject") {
		t.Errorf("what was refused first comes first: %s", list)
	}
	tab.Click(".records tbody tr:last-child time")
	for _, want := range []string{"reject rdns-missing", "14.0.0.127.in-addr.arpa. PTR no such name"} {
		if trace := tab.Text(".trace"); !strings.Contains(trace, want) {
			t.Errorf("no %q in the trace: %s", want, trace)
		}
	}
	tab.Open("http://" + admin + "/")
	if totals := tab.Text(".totals"); !strings.HasPrefix(totals, "reject 1 ") || !strings.HasSuffix(totals, "accept 1") {
		t.Errorf("the overview counts %s", totals)
	}
	if ran := tab.Ran(); len(ran) > 0 {
		t.Errorf("ran: %q", ran)
	}
}

// explained is a daemon with pages, and the link of a refusal.
type explained struct {
	*daemontest.Daemon
	admin, link string
}

func startExplained(t *testing.T, dns string) explained {
	t.Helper()
	admin := net.JoinHostPort(miltertest.Loopback(), "8893")
	more := daemontest.ExplainConfig(t.TempDir()) + fmt.Sprintf("admin: {listen: %q, socket: \"\"}\n", admin)
	d := daemontest.Start(t, daemontest.Config{DNS: dns, Profile: "strict", Actions: map[string]string{"first-contact": "off"}, Extra: more})
	_, text := daemontest.ReadReply(t, d.Play(t, daemontest.GoodSession(func(d *miltertest.Session) { d.Client, d.ClientName = "127.0.0.13", "[127.0.0.13]" })).Response)
	_, link, _ := strings.Cut(text, "; ")
	miltertest.Eventually(t, "the page shows what was seen", func() bool {
		_, page := daemontest.GetText(t, link)
		return strings.Contains(page, "What we saw")
	})
	return explained{d, admin, link}
}

// flood has clients read and test again, and returns how often each status was answered.
func (e explained) flood(t *testing.T, clients, requests int) map[int]int {
	home, _, _ := strings.Cut(e.link, "/why/")
	paths := []string{
		"/why/", "/why/rdns-missing", e.link[len(home):], "/why/rdns-missing?r=" + strings.Repeat("a", 48), "/why/" + strings.Repeat("x", 4000),
		"/why?sender=a@sender.test&ip=127.0.0.13&receiver=mx.test", "/why/style.css", "/nothing",
	}
	var mu sync.Mutex
	codes := map[int]int{}
	var readers sync.WaitGroup
	for client := range clients {
		readers.Go(func() {
			reader := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
			defer reader.CloseIdleConnections()
			for i := range requests / clients {
				method, path := http.MethodGet, paths[(i+client)%len(paths)]
				if i%10 == 0 {
					method, path = http.MethodPost, e.link[len(home):]
				}
				req, err := http.NewRequest(method, home+path, nil)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := reader.Do(req)
				if err != nil {
					t.Errorf("%s %s: %v", method, path, err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				mu.Lock()
				codes[resp.StatusCode]++
				mu.Unlock()
			}
		})
	}
	readers.Wait()
	return codes
}

// latency is that of the middle one of the sessions with good mail that go by while something else goes on.
func (e explained) latency(t *testing.T, while func()) time.Duration {
	over := make(chan struct{})
	go func() { defer close(over); while() }()
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
		if step := e.Daemon.Play(t, daemontest.GoodSession()); step.Event != 0 {
			t.Fatalf("good mail was answered %q", step.Response.Raw)
		}
		took = append(took, time.Since(began))
	}
}

// TestReadersDoNotDisturbMail has clients read and test again ten thousand times, while mail flows. Nothing may be left of them
// but lines in the limiter, and mail must go on as it does while the same readers keep another daemon of the machine busy.
func TestReadersDoNotDisturbMail(t *testing.T) {
	const clients, requests = 20, 10_000
	const refused = "13.0.0.127.in-addr.arpa."
	others := startExplained(t, dnstest.Start(t, daemontest.World).Addr)
	server := dnstest.Start(t, daemontest.World)
	d := startExplained(t, server.Addr)
	metric := func(name string) float64 { return metricOf(t, d.admin, name) }
	quiet := d.latency(t, func() {})
	elsewhere := d.latency(t, func() { others.flood(t, clients, requests/5) })
	goroutines, fds, heap, asked := metric("go_goroutines"), metric("process_open_fds"), metric("go_memstats_heap_inuse_bytes"), server.Asked(refused, dns.TypePTR)

	var codes map[int]int
	busy := d.latency(t, func() { codes = d.flood(t, clients, requests) })
	t.Logf("a session takes %v, %v while another daemon's pages are read, %v while its own are; answers: %v", quiet, elsewhere, busy, codes)
	if busy > 3*elsewhere+10*time.Millisecond {
		t.Errorf("a session takes %v, and %v while pages are read", elsewhere, busy)
	}
	if codes[429] == 0 || codes[200] == 0 || codes[404] == 0 || codes[200]+codes[404]+codes[429] != requests {
		t.Errorf("answers: %v", codes)
	}
	if n := server.Asked(refused, dns.TypePTR) - asked; n == 0 || n > 40 {
		t.Errorf("the DNS was asked %d times for those who test again", n)
	}
	miltertest.Eventually(t, "nothing of the readers is left", func() bool {
		return metric("go_goroutines") <= goroutines+10 && metric("process_open_fds") <= fds+10
	})
	if now := metric("go_memstats_heap_inuse_bytes"); now > heap+64<<20 {
		t.Errorf("the heap grew from %.0f to %.0f octets", heap, now)
	}
}

// TestSilentReadersDoNotDisturbMail opens more connections to the pages than they take, and says nothing on them.
func TestSilentReadersDoNotDisturbMail(t *testing.T) {
	const most, spare = 200, 30
	admin := net.JoinHostPort(miltertest.Loopback(), "8893")
	more := daemontest.ExplainConfig(t.TempDir()) + fmt.Sprintf("admin: {listen: %q, socket: \"\"}\n", admin)
	d := daemontest.Start(t, daemontest.Config{DNS: dnstest.Start(t, daemontest.World).Addr, Profile: "strict", Actions: map[string]string{"first-contact": "off"}, Extra: more})
	before := metricOf(t, admin, "process_open_fds")
	pages := regexp.MustCompile(`listen: "([^"]*)"`).FindStringSubmatch(more)[1]
	for range 2 * most {
		conn, err := net.Dial("tcp", pages)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	miltertest.Eventually(t, "silent readers are let in", func() bool { return metricOf(t, admin, "process_open_fds") > before+most/2 })
	if step := d.Play(t, daemontest.GoodSession()); step.Event != 0 {
		t.Errorf("good mail was answered %q", step.Response.Raw)
	}
	if now := metricOf(t, admin, "process_open_fds"); now > before+most+spare {
		t.Errorf("%.0f descriptors are open, %.0f before", now, before)
	}
}

// metricOf reads a number of a daemon.
func metricOf(t *testing.T, admin, name string) float64 {
	t.Helper()
	_, page := daemontest.GetText(t, "http://"+admin+"/metrics")
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no %s", name)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
