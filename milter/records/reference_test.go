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
	noon   = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	signer = NewSigner([]byte(strings.Repeat("k", keyLength)))
)

const day = 24 * time.Hour

func TestVerify(t *testing.T) {
	t.Parallel()
	id := NewID(noon)
	ref := signer.Sign(id, "rdns-missing")
	foreign := NewSigner([]byte(strings.Repeat("f", keyLength)))
	for _, c := range []struct {
		name, ref, reason string
		now               time.Time
		signer            Signer
		want              error
	}{
		{"fresh", ref, "rdns-missing", noon, signer, nil},
		{"on its last day", ref, "rdns-missing", noon.Add(14 * day), signer, nil},
		{"from a host whose clock is ahead", ref, "rdns-missing", noon.Add(-time.Minute), signer, nil},
		{"expired", ref, "rdns-missing", noon.Add(14*day + time.Second), signer, ErrExpired},
		{"for another reason", ref, "helo-mismatch", noon, signer, ErrForged},
		{"from another site", foreign.Sign(id, "rdns-missing"), "rdns-missing", noon, signer, ErrForged},
		{"expired and from another site", foreign.Sign(id, "rdns-missing"), "rdns-missing", noon.Add(20 * day), signer, ErrForged},
		{"without a key", ref, "rdns-missing", noon, Signer{}, ErrForged},
		{"signed without a key", Signer{}.Sign(id, "rdns-missing"), "rdns-missing", noon, Signer{}, ErrForged},
		{"one character short", ref[:refLength-1], "rdns-missing", noon, signer, ErrCut},
		{"without the signature", ref[:idLength], "rdns-missing", noon, signer, ErrCut},
		{"empty", "", "rdns-missing", noon, signer, ErrCut},
		{"too long", ref + "a", "rdns-missing", noon, signer, ErrForged},
		{"another id", NewID(noon) + ref[idLength:], "rdns-missing", noon, signer, ErrForged},
		{"not base32", strings.Repeat("1", refLength), "rdns-missing", noon, signer, ErrForged},
		{"with a line end", ref[:10] + "\r\n" + ref[12:], "rdns-missing", noon, signer, ErrForged},
		{"line ends only", strings.Repeat("\r", refLength), "rdns-missing", noon, signer, ErrForged},
		{"capitals", strings.ToUpper(ref), "rdns-missing", noon, signer, ErrForged},
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

func TestVerifyRejectsEachChangedCharacter(t *testing.T) {
	t.Parallel()
	ref := signer.Sign(NewID(noon), "spf-fail")
	for i := range ref {
		for _, c := range "abz27" {
			changed := ref[:i] + string(c) + ref[i+1:]
			if changed == ref {
				continue
			}
			if _, err := signer.Verify(changed, "spf-fail", noon, day); err == nil {
				t.Errorf("%s was accepted instead of %s", changed, ref)
			}
		}
	}
}

func TestAReferenceFitsALink(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		ref := signer.Sign(NewID(noon), "rdns-missing")
		if len(ref) > 60 || !regexp.MustCompile(`^[a-z2-7]+$`).MatchString(ref) {
			t.Fatalf("%q", ref)
		}
		seen[ref[:idLength]] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different ids, want 1000", len(seen))
	}
}

func TestIDIn(t *testing.T) {
	t.Parallel()
	id := NewID(noon)
	ref := signer.Sign(id, "rdns-missing")
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
	f.Add(signer.Sign(NewID(noon), "spf-fail"), "spf-fail", int64(0))
	f.Add("", "", int64(-1))
	f.Add(strings.Repeat("a", refLength), "a\x00b", int64(1<<40))
	f.Fuzz(func(t *testing.T, ref, reason string, after int64) {
		now := noon.Add(time.Duration(after))
		id, err := signer.Verify(ref, reason, now, day)
		if err != nil {
			if id != "" {
				t.Errorf("id %q with the error %v", id, err)
			}
			return
		}
		if signer.Sign(id, reason) != ref {
			t.Errorf("%q is accepted without a valid signature", ref)
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
		s := NewSigner([]byte(key + strings.Repeat("x", keyLength)))
		id := NewID(at)
		if got, err := s.Verify(s.Sign(id, reason), reason, at, time.Hour); err != nil || got != id {
			t.Errorf("%s: %v", fmt.Sprint(got), err)
		}
		if _, err := signer.Verify(s.Sign(id, reason), reason, at, time.Hour); err == nil {
			t.Error("the signature of another key was accepted")
		}
	})
}
