package replay

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestPage(t *testing.T) {
	t.Parallel()
	a, b := configOf(t, "a.yaml", "actions: {first-contact: greylist}"), configOf(t, "b.yaml", "profile: strict")
	letters := append(many(60), letter{from: "<b>bold</b>@example.net", date: `<img src=x onerror=1>`})
	for i := range pageSenders + 3 {
		letters = append(letters, letter{helo: "127.0.0.9", from: fmt.Sprintf("a@sender%d.example", i)})
	}
	r := replayed(t, Options{Paths: []string{mbox(t, letters...), file(t, "x.eml", "")}, Config: a, Against: &b})
	var out bytes.Buffer
	if err := r.HTML(&out); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for _, want := range []string{
		"<b>80</b>messages", "date-invalid", "<p class=\"soft\">and 3 more</p>", "With b.yaml instead", "What could not be judged", "Unreadable", "x.eml", "&lt;b&gt;bold",
		"prefers-color-scheme: dark", "@media print", `<svg class="chart"`, " of 80 messages would have another result, because of ",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q", want)
		}
	}
	// Nothing is fetched, and nothing runs.
	if found := regexp.MustCompile(`(?i)<script|<link|<img|<iframe|\bsrc=|url\(|@import|href="[^#]|\bon\w+="`).FindAllString(page, -1); found != nil {
		t.Errorf("the page has %q", found)
	}
	for _, svg := range regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(page, -1) {
		if err := xml.Unmarshal([]byte(svg), new(struct{})); err != nil {
			t.Errorf("%v: %.200s", err, svg)
		}
	}
}

func TestPageOfNothing(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r := replayed(t, Options{Paths: []string{file(t, "mbox", "")}, Config: configOf(t, "a.yaml", "")})
	if err := r.HTML(&out); err != nil || !strings.Contains(out.String(), "No reason applied") {
		t.Errorf("got %v, %s", err, out.String())
	}
	if j := jsonOf(t, r); j.Messages != 0 || j.Reasons == nil {
		t.Errorf("got %+v", j)
	}
	if text := textOf(t, r); !strings.Contains(text, "no reason applied") {
		t.Errorf("got %s", text)
	}
}

func TestChart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		days  map[int64]*actionCount
		count int
		step  string
	}{
		{"one day", map[int64]*actionCount{20000: {Accepted: 1}}, 1, "day"},
		{"some days", map[int64]*actionCount{20000: {Accepted: 1}, 20029: {Rejected: 2}}, 30, "day"},
		{"a year", map[int64]*actionCount{20000: {Accepted: 1}, 20365: {}}, 92, "4 days"},
		{"five years", map[int64]*actionCount{20000: {Accepted: 1}, 21825: {}}, 115, "16 days"},
		{"a clock at 1970 and one in 9999", map[int64]*actionCount{0: {Accepted: 1}, 2932896: {}}, 120, "24441 days"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := newChart(c.days)
			if len(got.Bars) != c.count || got.Step != c.step || got.Highest < 1 {
				t.Errorf("got %d bars of a %s, at most %d", len(got.Bars), got.Step, got.Highest)
			}
			for _, b := range got.Bars {
				if last := b.Parts[2]; last.From+last.Size > 100.01 || b.X+b.Width > 100.01 {
					t.Errorf("got %+v", b)
				}
			}
		})
	}
}

func TestBar(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Unix(100, 0)
	b := Bar{W: &out, Now: func() time.Time { return now }}
	b.Show(Progress{Read: 3, Unreadable: 1})
	b.Show(Progress{Read: 4}) // too soon
	now = now.Add(time.Second)
	b.Show(Progress{Read: 12, Judged: 9, Judging: true})
	b.Clear()
	want := "\rreading 3 messages, 1 unreadable" +
		"\rjudging [######################........]  75 % 9 messages" +
		"\r" + strings.Repeat(" ", 57) + "\r"
	if got := out.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
