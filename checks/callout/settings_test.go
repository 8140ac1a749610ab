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
