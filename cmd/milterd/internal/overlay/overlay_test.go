package overlay

import (
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
)

// TestOverlay tests that what is written is read again, and that the store below does not change.
func TestOverlay(t *testing.T) {
	t.Parallel()
	ctx, below := t.Context(), checktest.NewStore(nil)
	for key, value := range map[string]string{"a:1": "old", "a:2": "old", "a:n": "5"} {
		if err := below.Put(ctx, key, []byte(value), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	s := New(below)
	if n, err := s.Add(ctx, "a:n", 2, time.Hour); n != 7 || err != nil {
		t.Errorf("Add: %d, %v", n, err)
	}
	if ok, err := s.PutNew(ctx, "a:1", nil, time.Hour); ok || err != nil {
		t.Errorf("PutNew of an existing record: %v, %v", ok, err)
	}
	if ok, err := s.PutNew(ctx, "a:3", []byte("new"), time.Hour); !ok || err != nil {
		t.Errorf("PutNew: %v, %v", ok, err)
	}
	if err := s.Put(ctx, "a:1", []byte("new"), time.Hour); err != nil {
		t.Error(err)
	}
	if err := s.Delete(ctx, "a:2"); err != nil {
		t.Error(err)
	}
	contents := func(store checks.Store) map[string]string {
		all := map[string]string{}
		for r, err := range store.Scan(ctx, "a:") {
			if err != nil {
				t.Fatal(err)
			}
			value, ok, err := store.Get(ctx, r.Key)
			if err != nil || !ok || string(value) != string(r.Value) {
				t.Errorf("%s: %q, %v, %v; Scan has %q", r.Key, value, ok, err, r.Value)
			}
			all[r.Key] = string(value)
		}
		return all
	}
	if got := contents(s); len(got) != 3 || got["a:1"] != "new" || got["a:3"] != "new" || got["a:n"] != "7" {
		t.Errorf("read again: %v", got)
	}
	if got := contents(below); len(got) != 3 || got["a:1"] != "old" || got["a:2"] != "old" || got["a:n"] != "5" {
		t.Errorf("the store below: %v", got)
	}
}
