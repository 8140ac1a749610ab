package msgfields_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/msgfields"
)

// wantedMail has the reasons that apply to the header sections in testdata/cases: honest mail with faults that real mail has
// shown. Those whose names begin with bounce have a null reverse-path.
var wantedMail = map[string]string{
	"bounce-date-missing":           "date-missing",
	"bounce-date-no-zone":           "date-lax from-invalid",
	"bounce-from-empty-path":        "from-invalid",
	"bounce-from-only-empty-path":   "from-invalid",
	"bounce-from-word":              "from-lax",
	"bounce-msgid-missing":          "msgid-missing",
	"bounce-msgid-no-at":            "msgid-lax",
	"bounce-msgid-no-brackets":      "msgid-lax",
	"bounce-msgid-nothing-after-at": "msgid-lax",
	"bounce-to-several":             "field-repeated",
	"cc-line-over-998":              "field-too-long",
	"cc-several":                    "field-repeated",
	"date-future-days":              "date-future",
	"date-future-years":             "date-future",
	"date-held-by-moderator":        "",
	"date-patch-sent-later":         "date-past",
	"date-zone-in-comment-only":     "date-lax",
	"filter-field-over-998":         "field-too-long",
	"from-twice":                    "field-repeated",
	"key-line-over-998":             "field-too-long",
	"list-wraps-without-date":       "date-missing",
	"msgid-comma":                   "msgid-lax",
	"msgid-empty":                   "msgid-lax",
	"msgid-no-brackets":             "msgid-lax",
	"msgid-nothing-after-at":        "msgid-lax",
	"msgid-text-after":              "msgid-lax",
	"msgid-two-at":                  "msgid-lax",
	"reply-to-twice":                "field-repeated",
	"robot-repeats-fields":          "field-repeated",
	"subject-second-empty":          "field-repeated",
	"to-several":                    "field-repeated",
}

// strictPasses are the wanted messages that are no bounces and that the profile strict lets in too.
var strictPasses = map[string]bool{
	"date-held-by-moderator": true, "cc-line-over-998": true, "filter-field-over-998": true, "key-line-over-998": true,
}

// TestWantedMail tests that the profile safe at most greylists wanted mail, and that neither profile refuses bounces.
func TestWantedMail(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/cases/*.eml")
	if err != nil || len(files) != len(wantedMail) {
		t.Fatalf("%d files, %v, want %d", len(files), err, len(wantedMail))
	}
	arrival := time.Date(2026, 11, 28, 10, 15, 2, 0, time.UTC)
	check := build(t)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".eml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			head, _, _ := strings.Cut(string(text), "\n\n")
			session := checktest.Session{Client: "192.0.2.25", MailFrom: "writer@example.net", Header: parse(head), Time: arrival}
			bounce := strings.HasPrefix(name, "bounce-")
			if bounce {
				session.MailFrom = "<>"
			}
			vs, err := checktest.Ask(t, msgfields.Info, check, session.Request(t))
			if got := strings.Join(checktest.IDs(vs), " "); got != wantedMail[name] || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, wantedMail[name])
			}
			if a := worstAction(vs, checks.Safe, bounce); a > checks.Greylist {
				t.Errorf("safe: %s", a)
			}
			if a := worstAction(vs, checks.Strict, bounce); (a <= checks.Watch) != (bounce || strictPasses[name]) {
				t.Errorf("strict: %s", a)
			}
		})
	}
}

// worstAction returns the most severe action of a profile for the reasons of verdicts.
func worstAction(vs []checks.Verdict, p checks.Profile, bounce bool) checks.Action {
	worst := checks.Off
	for _, v := range vs {
		a := p.Action(v.Reason)
		if bounce && v.Reason.BounceWatch {
			a = min(a, checks.Watch)
		}
		worst = max(worst, a)
	}
	return worst
}
