package checks_test

import (
	"testing"
	"time"

	"milterd/checks"
)

func TestRateLimit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]checks.RateLimit{
		"10/m": {N: 10, Per: time.Minute}, "1/s": {N: 1, Per: time.Second}, "600/h": {N: 600, Per: time.Hour}, "5/d": {N: 5, Per: 24 * time.Hour},
		"": {}, "10": {}, "0/m": {}, "-1/m": {}, "10/x": {}, "m/10": {}, "10/m/m": {}, "1e3/m": {}, "1000000001/h": {},
	} {
		var got checks.RateLimit
		err := got.UnmarshalText([]byte(text))
		if got != want || (err == nil) != (want.N > 0) {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
		if back, errBack := got.MarshalText(); (errBack == nil) != (err == nil) || err == nil && string(back) != text {
			t.Errorf("%q became %q, %v", text, back, errBack)
		}
	}
}
