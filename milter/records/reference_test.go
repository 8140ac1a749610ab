package records

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

var (
	noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	ours = NewSigner([]byte(strings.Repeat("k", keyOctets)))
)

const day = 24 * time.Hour

func TestVerify(t *testing.T) {
	t.Parallel()
	id := NewID(noon)
	ref := ours.Sign(id, "rdns-missing")
	foreign := NewSigner([]byte(strings.Repeat("f", keyOctets)))
	for _, c := range []struct {
		name, ref, reason string
		now               time.Time
		signer            Signer
		want              error
	}{
		{"fresh", ref, "rdns-missing", noon, ours, nil},
		{"on its last day", ref, "rdns-missing", noon.Add(14 * day), ours, nil},
		{"of a host whose clock is ahead", ref, "rdns-missing", noon.Add(-time.Minute), ours, nil},
		{"expired", ref, "rdns-missing", noon.Add(14*day + time.Second), ours, ErrExpired},
		{"for another reason", ref, "helo-mismatch", noon, ours, ErrForged},
		{"of another site", foreign.Sign(id, "rdns-missing"), "rdns-missing", noon, ours, ErrForged},
		{"expired and of another site", foreign.Sign(id, "rdns-missing"), "rdns-missing", noon.Add(20 * day), ours, ErrForged},
		{"without a key", ref, "rdns-missing", noon, Signer{}, ErrForged},
		{"signed without a key", Signer{}.Sign(id, "rdns-missing"), "rdns-missing", noon, Signer{}, ErrForged},
		{"cut by one", ref[:refLength-1], "rdns-missing", noon, ours, ErrCut},
		{"cut to the id", ref[:idLength], "rdns-missing", noon, ours, ErrCut},
		{"empty", "", "rdns-missing", noon, ours, ErrCut},
		{"longer", ref + "a", "rdns-missing", noon, ours, ErrForged},
		{"another id", NewID(noon) + ref[idLength:], "rdns-missing", noon, ours, ErrForged},
		{"no base32", strings.Repeat("1", refLength), "rdns-missing", noon, ours, ErrForged},
		{"line ends", ref[:10] + "\r\n" + ref[12:], "rdns-missing", noon, ours, ErrForged},
		{"line ends alone", strings.Repeat("\r", refLength), "rdns-missing", noon, ours, ErrForged},
		{"capitals", strings.ToUpper(ref), "rdns-missing", noon, ours, ErrForged},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := c.signer.Verify(c.ref, c.reason, c.now, 14*day)
			if !errors.Is(err, c.want) || (err == nil) != (got == id) {
				t.Errorf("got %q, %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestEveryChangedCharacterIsNoticed(t *testing.T) {
	t.Parallel()
	ref := ours.Sign(NewID(noon), "spf-fail")
	for i := range ref {
		for _, c := range "abz27" {
			changed := ref[:i] + string(c) + ref[i+1:]
			if changed == ref {
				continue
			}
			if _, err := ours.Verify(changed, "spf-fail", noon, day); err == nil {
				t.Errorf("%s was taken for %s", changed, ref)
			}
		}
	}
}

func TestAReferenceFitsALink(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		ref := ours.Sign(NewID(noon), "rdns-missing")
		if len(ref) > 60 || !regexp.MustCompile(`^[a-z2-7]+$`).MatchString(ref) {
			t.Fatalf("%q", ref)
		}
		seen[ref[:idLength]] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different ids of 1000", len(seen))
	}
}

func TestIDIn(t *testing.T) {
	t.Parallel()
	id := NewID(noon)
	ref := ours.Sign(id, "rdns-missing")
	for text, want := range map[string]string{
		id: id, ref: id, " " + strings.ToUpper(ref) + "\n": id, "https://mx.example.org/why/rdns-missing?r=" + ref: id,
		"": "", "rdns-missing": "", strings.Repeat("!", 60): "", "r=": "",
	} {
		if got := IDIn(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(ours.Sign(NewID(noon), "spf-fail"), "spf-fail", int64(0))
	f.Add("", "", int64(-1))
	f.Add(strings.Repeat("a", refLength), "a\x00b", int64(1<<40))
	f.Fuzz(func(t *testing.T, ref, reason string, after int64) {
		now := noon.Add(time.Duration(after))
		id, err := ours.Verify(ref, reason, now, day)
		if err != nil {
			if id != "" {
				t.Errorf("an id %q with the error %v", id, err)
			}
			return
		}
		if ours.Sign(id, reason) != ref {
			t.Errorf("%q is valid, and nobody signed it", ref)
		}
		if at, ok := timeOf(id); !ok || now.Sub(at) > day {
			t.Errorf("%q has expired at %s", ref, now)
		}
	})
}

func FuzzSign(f *testing.F) {
	f.Add("spf-fail", int64(1), "k")
	f.Fuzz(func(t *testing.T, reason string, unix int64, key string) {
		at := time.Unix(int64(uint32(unix)), 0)
		s := NewSigner([]byte(key + strings.Repeat("x", keyOctets)))
		id := NewID(at)
		if got, err := s.Verify(s.Sign(id, reason), reason, at, time.Hour); err != nil || got != id {
			t.Errorf("%s: %v", fmt.Sprint(got), err)
		}
		if _, err := ours.Verify(s.Sign(id, reason), reason, at, time.Hour); err == nil {
			t.Error("a foreign key was taken")
		}
	})
}
