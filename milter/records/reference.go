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

// A reference is the id of a record and its signature, both in base32: letters and digits alone, which survive every
// program that shows a bounce, every line break and every telephone.
const (
	idTime     = 4 // octets: seconds since 1970
	idRandom   = 11
	idLength   = (idTime + idRandom) * 8 / 5 // characters
	macOctets  = 15                          // of HMAC-SHA256; RFC 2104 section 5 wants half of it at least, or 80 bits
	macLength  = macOctets * 8 / 5
	refLength  = idLength + macLength // 48 characters
	macContext = "milterd reference 1"
)

var base32er = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewID is an id for the record of a decision made at a time. No two are equal.
func NewID(at time.Time) string {
	var b [idTime + idRandom]byte
	binary.BigEndian.PutUint32(b[:], uint32(at.Unix()))
	_, _ = rand.Read(b[idTime:]) // never fails
	return base32er.EncodeToString(b[:])
}

// timeOf is when the decision was made whose record has an id; false if it is none.
func timeOf(id string) (time.Time, bool) {
	if len(id) != idLength {
		return time.Time{}, false
	}
	b, err := base32er.DecodeString(id)
	if err != nil || len(b) != idTime+idRandom { // line ends are passed over
		return time.Time{}, false
	}
	return time.Unix(int64(binary.BigEndian.Uint32(b)), 0), true
}

// IDIn finds the id of a record in what a postmaster reads out: the id itself, a reference, or a whole link. It is empty if
// there is none.
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

// The errors of Verify. They say nothing about whether there is a record.
var (
	ErrCut     = errors.New("the reference is not complete")
	ErrForged  = errors.New("the reference is not one of this site")
	ErrExpired = errors.New("the reference has expired")
)

// Signer makes and verifies references. The zero value verifies none.
type Signer struct{ key []byte }

// NewSigner makes a signer of a key of 32 octets or more, which is the same on all hosts that answer for each other's links.
func NewSigner(key []byte) Signer { return Signer{key} }

// Sign makes the reference to a record that is about a reason. It has 48 letters and digits.
func (s Signer) Sign(id, reason string) string {
	mac := s.mac(id, reason)
	return id + base32er.EncodeToString(mac)
}

// Verify returns the id in a reference that Sign made for this reason no longer than keep ago. It asks nobody.
func (s Signer) Verify(ref, reason string, now time.Time, keep time.Duration) (id string, err error) {
	if len(ref) < refLength {
		return "", ErrCut
	}
	id = ref[:min(len(ref), idLength)]
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

// mac is bound to the reason too: a reference shows what it was given for, and nothing else. Neither an id nor a reason has
// a NUL in it.
func (s Signer) mac(id, reason string) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte(macContext + "\x00" + id + "\x00" + reason))
	return h.Sum(nil)[:macOctets]
}
