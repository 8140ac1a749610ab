package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"milterd/checks/counters"
	"milterd/milter/records"
)

// TestRepairedLiftsBlock tests that a repaired refusal lifts a block for too-many-errors alone.
func TestRepairedLiftsBlock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, spans string
		lifted      bool
	}{
		{"no block", "", false},
		{"errors", `{"limit":"too-many-errors","since":%s,"until":%u}`, true},
		{"errors and bad recipients", `{"limit":"too-many-errors","since":%s,"until":%u},{"limit":"too-many-bad-recipients","since":%s,"until":%u}`, false},
		{"bad recipients", `{"limit":"too-many-bad-recipients","since":%s,"until":%u}`, false},
		{"by the operator", `{"since":%s,"until":%u}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newRecordingDaemon(t, nil)
			now := time.Now()
			unix := func(at time.Time) string { b, _ := json.Marshal(at.Unix()); return string(b) }
			if c.spans != "" {
				spans := strings.NewReplacer("%s", unix(now), "%u", unix(now.Add(time.Hour))).Replace(c.spans)
				block := `{"v":1,"inforce":true,"spans":[` + spans + `]}`
				if err := d.store.Put(t.Context(), "counters:block:192.0.2.9/32", []byte(block), time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			lifted, err := tester{daemon: d}.Repaired(t.Context(), records.Record{Client: netip.MustParseAddr("192.0.2.9")})
			if err != nil || lifted != c.lifted {
				t.Errorf("lifted %v, %v", lifted, err)
			}
			left, err := counters.Blocks(t.Context(), d.store, now)
			if err != nil || (len(left) == 0) != (c.lifted || c.spans == "") {
				t.Errorf("blocks after it: %+v, %v", left, err)
			}
		})
	}
	t.Run("no client", func(t *testing.T) {
		t.Parallel()
		if lifted, err := (tester{daemon: newRecordingDaemon(t, nil)}).Repaired(t.Context(), records.Record{}); lifted || err != nil {
			t.Errorf("lifted %v, %v", lifted, err)
		}
	})
}

// TestSenderBlockIsShown tests that the blocks of a good sender are listed, explained by why, and removed.
func TestSenderBlockIsShown(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, nil)
	ctx, now := t.Context(), time.Now()
	for _, sender := range []string{"example.com", "example.net"} {
		block := fmt.Sprintf(`{"v":1,"inforce":true,"level":1,"spans":[{"limit":"too-many-errors","since":%d,"until":%d}]}`, now.Unix(), now.Add(time.Hour).Unix())
		if err := d.store.Put(ctx, "counters:pair:block:192.0.2.9/32 "+sender, []byte(block), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	list, err := d.listBlocks(ctx, noArgs{})
	showBlocks(&out, list)
	if err != nil || !strings.Contains(out.String(), "192.0.2.9/32\t") || !strings.Contains(out.String(), "refused mails and recipients in mail from example.com\n") {
		t.Errorf("block list: %v\n%s", err, out.String())
	}
	for what, lines := range map[string]int{"192.0.2.9": 2, "eve@mail.example.com": 1, "example.net": 1} {
		k, err := d.why(ctx, whyArgs{What: what})
		out.Reset()
		showWhy(&out, k)
		if n := strings.Count(out.String(), "milterd block remove 192.0.2.9"); err != nil || n != lines {
			t.Errorf("why %s: %v, %d blocks\n%s", what, err, n, out.String())
		}
	}
	if lifted, err := (tester{daemon: d}).Repaired(ctx, records.Record{Client: netip.MustParseAddr("192.0.2.9"), MailFrom: "eve@mail.example.com"}); !lifted || err != nil {
		t.Errorf("repaired: %v, %v", lifted, err)
	}
	if got, err := d.removeBlock(ctx, removeArgs{What: "192.0.2.9"}); got.Removed != 1 || err != nil {
		t.Errorf("removed: %+v, %v", got, err)
	}
	if list, err := d.listBlocks(ctx, noArgs{}); len(list) > 0 || err != nil {
		t.Errorf("after it: %+v, %v", list, err)
	}
}
