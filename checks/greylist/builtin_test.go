package greylist

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestBuiltInEntriesHaveEvidence(t *testing.T) {
	t.Parallel()
	var senders []string
	for line := range strings.Lines(noRetryText) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		senders = append(senders, words[0])
		if evidence := strings.Join(words[min(len(words), 2):], " "); len(evidence) < 40 || !strings.HasSuffix(evidence, ".") {
			t.Errorf("%s: evidence %q", words[0], evidence)
		} else if _, err := time.Parse(time.DateOnly, words[1]); err != nil {
			t.Errorf("%s: %v", words[0], err)
		}
	}
	if !slices.Equal(builtIn(), senders) || len(senders) < 3 {
		t.Errorf("entries %q, want %q", builtIn(), senders)
	}
	s := Info.Default.(Settings)
	s.NoRetry = builtIn()
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
}
