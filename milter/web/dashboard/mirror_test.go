package dashboard

import (
	"strings"
	"testing"
)

// TestMirror tests the page about outgoing mail.
func TestMirror(t *testing.T) {
	t.Parallel()
	p := busySite(t).get("/mirror")
	p.Has(t, "from 2026-11-15 to 2026-11-21", "2 messages since the start of this daemon were not judged.",
		"example.org Gmail: takes it Yahoo: takes it Outlook: takes it 1 240 messages, 413 on the busiest day; up to 310 recipients a day at Gmail. Nothing was found. 3 messages had no DKIM signature of the domain when milterd saw them.",
		"news.example.org Gmail: may refuse it Yahoo: may refuse it Outlook: may refuse it",
		"mirror-rdns our address has no reverse DNS name that leads back to it 240 messages, last 2026-11-21 11:00:00 , 4dDk2p1xQz Seen: 198.51.100.7 has no PTR record Repair: Have whoever",
		"7.100.51.198.in-addr.arpa. IN PTR mx.example.org.", "Gmail may refuse it (550 5.7.25), since 2024-02-01: Email sender guidelines , as of 2026-03-11",
		"partner.example not in local_domains Gmail: refuses bulk only",
		"newsletter Gmail: takes it, with advice", "480 messages 160 on the busiest day mirror-unsubscribe 240 messages: a message to 240 recipients",
		"ann@example.org Gmail: takes it Yahoo: takes it Outlook: takes it 12 messages 4 on the busiest day nothing",
		"203.0.113.9 news.example.org fails DKIM fail, SPF fail 2 messages reject google.com 2026-11-18 to 2026-11-19",
		"2001:db8:8000:1234:5678:9abc:def0:1234 example.org passes DKIM pass, SPF fail 1 240 messages accept Enterprise Outlook")
	if at := func(s string) int { return strings.Index(p.Text, s) }; at("news.example.org") > at("partner.example") {
		t.Error("the domains are not in order")
	}
}
