package why

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestFirstLine tests that the page of each reason says first what became of the message, and that its advice about sending it again
// fits the reply.
func TestFirstLine(t *testing.T) {
	t.Parallel()
	texts, err := loadTexts()
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range allReasons() {
		t.Run(reason.ID, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, brokenZone)
			general := s.get("/why/" + reason.ID)
			if !strings.Contains(general.Text, "The message was not delivered: mx.example.org refused it") && !strings.Contains(general.Text, "The message is not delivered yet: ") {
				t.Errorf("the page without a link does not say what became of the message: %s", general.Text)
			}
			p := s.get(s.refuseFor(reason))
			i := strings.Index(p.Text, "The message was not delivered: ")
			refused := i >= 0
			if !refused {
				i = strings.Index(p.Text, "The message is not delivered yet: ")
			}
			if i < 0 {
				t.Fatalf("no first line: %s", p.Text)
			}
			after := p.Text[i:]
			first, _, _ := strings.Cut(after, "What we saw")
			if refused == strings.Contains(first, "tries again by itself") {
				t.Errorf("wrong about another attempt: %s", first)
			}
			do := texts.Reasons[reason.ID].Do
			forward := strings.Contains(first, "Send this to those who do On Sat, 21 Nov 2026 12:00:00 UTC, mx.example.org did not accept our message")
			if want := do != todoWait && do != todoAccount; forward != want {
				t.Errorf("a paragraph to forward: %v, want %v: %s", forward, want, first)
			}
			if do != todoRepair && strings.Contains(p.Text, "Repair it and send the message again") {
				t.Errorf("nothing can be repaired: %s", p.Text)
			}
			if forward && !strings.Contains(p.Text, testURL+"/why/"+reason.ID+"?r=") {
				t.Errorf("the paragraph has no link: %s", first)
			}
		})
	}
}

// TestHeloThatWillBeUsed tests a refusal for the HELO name with another name, which says nothing about the refused one.
func TestHeloThatWillBeUsed(t *testing.T) {
	t.Parallel()
	s := newSite(t, repairedZone)
	s.get(s.refuse("192.0.2.9", "bad..name", "ann@example.com", "bob@example.org", "helo-syntax")).Has(t, "Name that your server will send in HELO or EHLO", "Test again")
	for name, want := range map[string]string{
		"":                       "Not yet repaired",
		"bad..name":              "Not yet repaired",
		"mail.example.com":       "With the HELO name mail.example.com, all is correct. Let your server send this name. Send the message again.",
		"MAIL.example.com.":      "With the HELO name mail.example.com, all is correct.",
		"nowhere.example.com":    "helo-unresolvable",
		"a.example\"><b>":        "is not a host name",
		"[192.0.2.9]":            "is not a host name",
		strings.Repeat("a", 300): "is not a host name",
	} {
		s := newSite(t, repairedZone)
		link := s.refuse("192.0.2.9", "bad..name", "ann@example.com", "bob@example.org", "helo-syntax")
		r := httptest.NewRequest("POST", link, strings.NewReader(url.Values{"helo": {name}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		p := s.do(r)
		p.Has(t, want, "Its name in HELO bad..name")
		if strings.Contains(p.Text, "block of your server is lifted") {
			t.Errorf("%q: the block is lifted although the old name may still be sent", name)
		}
	}
	// A reason that is not about the HELO name ignores the field.
	s = newSite(t, brokenZone)
	link := s.refuse("192.0.2.9", "mail.example.com", "ann@example.com", "bob@example.org", "rdns-missing")
	s.get(link).Lacks(t, "will send in HELO")
}
