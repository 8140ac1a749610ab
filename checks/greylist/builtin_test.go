package greylist

import (
	"strings"
	"testing"
	"time"
)

func TestBuiltInEntriesHaveEvidence(t *testing.T) {
	t.Parallel()
	list := builtIn()
	if len(list) < 3 {
		t.Errorf("%d entries", len(list))
	}
	for _, e := range list {
		if _, err := time.Parse(time.DateOnly, e.Date); err != nil || len(e.Evidence) < 40 || !strings.HasSuffix(e.Evidence, ".") {
			t.Errorf("%+v, %v", e, err)
		}
		s := Info.Default.(Settings)
		s.NoRetry = []string{e.Sender}
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
	}
}
