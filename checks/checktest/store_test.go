package checktest_test

import (
	"errors"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/checktest/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	var clock checktest.Clock
	storetest.Run(t, storetest.Setup{
		Open:    func(*testing.T) checks.Store { return checktest.NewStore(clock.Now) },
		Second:  func(_ *testing.T, first checks.Store) checks.Store { return first },
		Now:     clock.Now,
		Advance: clock.Advance,
	})
}

func TestStoreFail(t *testing.T) {
	t.Parallel()
	s := checktest.Env(t, "").Store.(*checktest.Store)
	ctx := t.Context()
	if err := s.Put(ctx, "a", []byte("1"), time.Hour); err != nil {
		t.Fatal(err)
	}
	outage := errors.New("outage")
	s.Fail(outage)
	_, _, get := s.Get(ctx, "a")
	_, putNew := s.PutNew(ctx, "b", nil, time.Hour)
	_, add := s.Add(ctx, "a", 1, time.Hour)
	var scan error
	for _, scan = range s.Scan(ctx, "") {
	}
	for what, err := range map[string]error{
		"get": get, "put": s.Put(ctx, "a", nil, time.Hour), "put new": putNew, "add": add, "delete": s.Delete(ctx, "a"), "scan": scan,
	} {
		if !errors.Is(err, outage) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	s.Fail(nil)
	if v, ok, err := s.Get(ctx, "a"); string(v) != "1" || !ok || err != nil {
		t.Errorf("after the outage: got %q, %t, %v", v, ok, err)
	}
}
