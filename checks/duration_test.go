package checks

import (
	"testing"
	"time"
)

func TestFormatDuration(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"0s": 0, "8s": 8 * time.Second, "1h30m": 90 * time.Minute, "1d12h": 36 * time.Hour, "30d": 720 * time.Hour,
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%s: got %s, want %s", d, got, want)
		}
	}
}
