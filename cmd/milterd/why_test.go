package main

import (
	"encoding/json"
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
