package records

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"strings"
	"time"
)

// A reference is the id of a record and its signature, both in base32: lower-case letters and digits, which mail
// programs do not change and a person can read out.
const (
	timeBytes   = 4 // seconds since 1970
	randomBytes = 11
	macBytes    = 15 // of HMAC-SHA256; RFC 2104 section 5 recommends at least half of it, but 80 bits

	idLength   = (timeBytes + randomBytes) * 8 / 5 // characters
	macLength  = macBytes * 8 / 5
	refLength  = idLength + macLength
	macContext = "milterd reference 1"
)

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewID returns a new id for the record of a decision that is made at the given time.
func NewID(at time.Time) string {
	var b [timeBytes + randomBytes]byte
	binary.BigEndian.PutUint32(b[:], uint32(at.Unix()))
	_, _ = rand.Read(b[timeBytes:]) // never fails
	return encoding.EncodeToString(b[:])
}

// timeOf returns the time of the decision; ok is false if id is not an id.
func timeOf(id string) (at time.Time, ok bool) {
	if len(id) != idLength {
		return time.Time{}, false
	}
	b, err := encoding.DecodeString(id)
	if err != nil || len(b) != timeBytes+randomBytes { // the decoder ignores line ends
		return time.Time{}, false
	}
	return time.Unix(int64(binary.BigEndian.Uint32(b)), 0), true
}

// IDIn returns the id in a text that is an id, a reference or a link. It returns "" if there is none.
func IDIn(text string) string {
	if _, r, ok := strings.Cut(text, "r="); ok {
		text = r
	}
	text = strings.ToLower(strings.TrimSpace(text))
	id := text[:min(len(text), idLength)]
	if _, ok := timeOf(id); !ok {
		return ""
	}
	return id
}

// The errors of Verify. They do not depend on whether there is a record.
var (
	ErrCut     = errors.New("the reference is not complete")
	ErrForged  = errors.New("the reference is not one of this site")
	ErrExpired = errors.New("the reference has expired")
)

// Signer makes and verifies references. The zero value accepts none.
type Signer struct{ key []byte }

// NewSigner returns a Signer with a key of 32 bytes or more. Hosts with the same key accept each other's links.
func NewSigner(key []byte) Signer { return Signer{key: key} }

// Sign returns the reference to the record of a refusal for a reason. It has 48 letters and digits. It is valid on the page of
// that reason only. Neither the id nor the reason has a NUL in it.
func (s Signer) Sign(id, reason string) string {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte(macContext + "\x00" + id + "\x00" + reason))
	return id + encoding.EncodeToString(h.Sum(nil)[:macBytes])
}

// Verify returns the id in a reference that Sign made for the reason, not longer ago than keep.
func (s Signer) Verify(ref, reason string, now time.Time, keep time.Duration) (id string, err error) {
	if len(ref) < refLength {
		return "", ErrCut
	}
	id = ref[:idLength]
	at, ok := timeOf(id)
	if len(ref) != refLength || !ok || len(s.key) == 0 {
		return "", ErrForged
	}
	if !hmac.Equal([]byte(ref), []byte(s.Sign(id, reason))) { // in constant time
		return "", ErrForged
	}
	if now.Sub(at) > keep {
		return "", ErrExpired
	}
	return id, nil
}
