package callout

import (
	"strings"
	"testing"
	"time"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	if err := defaults().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	for want, change := range map[string]func(*Settings){
		"port:":     func(s *Settings) { s.Port = 0 },
		"port: 655": func(s *Settings) { s.Port = 65536 },
		"from:":     func(s *Settings) { s.From = "postmaster" },
		`from: "a `: func(s *Settings) { s.From = "a b@example.org" },
		"per_mx:":   func(s *Settings) { s.PerMX = "10" },
		"daily:":    func(s *Settings) { s.Daily = 0 },
		"good:":     func(s *Settings) { s.Good = 0 },
		"bad:":      func(s *Settings) { s.Bad = time.Second },
		"catchall:": func(s *Settings) { s.CatchAll = -1 },
		"unusable:": func(s *Settings) { s.Unusable = 0 },
		"domains:":  func(s *Settings) { s.Domains = []string{"a@b"} },
		"skip:":     func(s *Settings) { s.Skip = []string{"exa mple"} },
	} {
		s := defaults()
		change(&s)
		if err := s.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s got %v", want, err)
		}
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]limit{
		"10/m": {10, time.Minute}, "1/s": {1, time.Second}, "600/h": {600, time.Hour}, "5/d": {5, 24 * time.Hour},
		"": {}, "10": {}, "0/m": {}, "-1/m": {}, "10/x": {}, "m/10": {}, "10/m/m": {}, "1e3/m": {},
	} {
		var r Rate
		err := r.UnmarshalText([]byte(text))
		if got, ok := r.limit(); ok != (want.n > 0) || ok != (err == nil) || ok && got != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
		if back, _ := r.MarshalText(); err == nil && string(back) != text {
			t.Errorf("%q became %q", text, back)
		}
	}
}
