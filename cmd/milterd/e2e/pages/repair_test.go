// Package pages tests the pages for senders and operators, and the metrics, while a daemon filters mail.
package pages

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/web/webtest"
)

// The client of TestRepair, which has no reverse DNS name.
const source, helo = "127.0.0.14", "fourteen.client.test"

// TestRepair does what a postmaster does whose mail was refused: it follows the link in the reply of a Postfix, puts the
// records that the page shows into the DNS, tests them on the page, and sends the mail again. Then it looks at the
// operator's pages.
func TestRepair(t *testing.T) {
	miltertest.Require(t)
	webtest.Require(t)
	site := miltertest.NewSite(t, daemontest.World)
	postfix := site.Postfix(t)
	c := daemontest.StrictConfig(site)
	admin := net.JoinHostPort(miltertest.Loopback(), "8893")
	c.Extra = daemontest.ExplainConfig(site.Dir) + fmt.Sprintf("admin: {listen: %q, socket: \"\"}\n", admin)
	m := &daemontest.MailServer{MTA: postfix, Site: site, Daemon: daemontest.StartInSite(t, site, c, postfix)}
	link := refused(t, m)
	tab := webtest.Start(t).Tab(t)
	testExplanation(t, tab, link)
	if code := tab.Click("button"); code != 200 || !strings.Contains(tab.Text("main"), "Not yet repaired") {
		t.Fatalf("before the repair: %d %s", code, tab.Text("main"))
	}
	records := webtest.Evaluate[[]string](tab, `[...document.querySelectorAll(".record")].map(e => e.textContent)`)
	if err := site.DNS.Set(withRecords(daemontest.World, records)); err != nil {
		t.Fatalf("the records of the page: %v", err)
	}
	if code := tab.Click("button"); code != 200 || !strings.Contains(tab.Text("main"), "The DNS records are correct now.") {
		t.Fatalf("with the records %q: %d %s", records, code, tab.Text("main"))
	}
	m.Deliver(t, m.Connect(t, source, helo), daemontest.GoodSender, "alice")
	testDecisions(t, tab, admin)
	if ran := tab.Ran(); len(ran) > 0 {
		t.Errorf("scripts ran: %q", ran)
	}
}

// refused sends mail that is refused, and returns the link in the reply.
func refused(t *testing.T, m *daemontest.MailServer) (link string) {
	conn := m.Connect(t, source, helo)
	conn.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	reply := conn.Cmd("RCPT TO:<alice@mx.test>")
	daemontest.WantReply(t, reply, "550 5.7.25", source+" has no reverse DNS name; http://")
	last := reply.Lines[len(reply.Lines)-1]
	return last[strings.LastIndex(last, " ")+1:]
}

// testExplanation tests that the page shows the session, without the recipient's address.
func testExplanation(t *testing.T, tab *webtest.Tab, link string) {
	miltertest.Eventually(t, "the page shows the session", func() bool {
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
}

// withRecords adds the records of a page to a zone. TXT records replace those of the same name.
func withRecords(zone string, records []string) string {
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

// testDecisions tests that the operator's pages show the refusal and the message that was accepted later.
func testDecisions(t *testing.T, tab *webtest.Tab, admin string) {
	decisions := "http://" + admin + "/refusals?action=all&client=" + source
	miltertest.Eventually(t, "the operator's page shows both messages", func() bool {
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
		t.Errorf("the refusal is above the later message: %s", list)
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
}
