package session

import (
	"cmp"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"milterd/headers"
)

// keys are the private keys of a session file, by the lower-case names of their records.
type keys map[string]crypto.Signer

// addKey adds a private key. line is that of the part in the file.
func (s *Script) addKey(line int, name string, text []byte) error {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	key, err := parseKey(text)
	switch {
	case !strings.Contains(name, "._domainkey."):
		err = errors.New("want the name SELECTOR._domainkey.DOMAIN")
	case s.keys[name] != nil:
		err = errors.New("the file has it twice")
	}
	if err != nil {
		return fmt.Errorf("%s:%d: key %q: %w", s.Name, line, name, err)
	}
	if s.keys == nil {
		s.keys = keys{}
	}
	s.keys[name] = key
	return nil
}

// parseKey parses a private key, RFC 7468 section 10.
func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if rsaKey, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return rsaKey, nil
		}
		return nil, err
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	default:
		return nil, fmt.Errorf("a %T, want an RSA or Ed25519 key", key)
	}
}

// addKeyRecords adds the records of the keys to the zone, RFC 6376 section 3.6.1. A name for which the zone has a line keeps
// its records.
func (s *Script) addKeyRecords() {
	for _, name := range slices.Sorted(maps.Keys(s.keys)) {
		if hasLine(s.Zone, name) {
			continue
		}
		if s.Zone != "" && !strings.HasSuffix(s.Zone, "\n") {
			s.Zone += "\n"
		}
		s.Zone += name + ". TXT " + quoted(keyRecord(s.keys[name])) + "\n"
	}
}

// hasLine reports whether a zone has a record or a directive of a name, see checktest.Zone.
func hasLine(zone, name string) bool {
	for line := range strings.Lines(zone) {
		words := strings.Fields(line)
		if strings.HasPrefix(line, "!") && len(words) > 1 {
			words = words[1:]
		}
		if len(words) > 0 && strings.EqualFold(strings.TrimSuffix(words[0], "."), name) {
			return true
		}
	}
	return false
}

// keyRecord returns the text of a key record.
func keyRecord(key crypto.Signer) string {
	if public, ok := key.Public().(ed25519.PublicKey); ok {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public) // RFC 8463 section 4
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err) // parseKey returns no other types
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
}

// quoted returns a text as the strings of a TXT record, which have at most 255 bytes each (RFC 1035 section 3.3).
func quoted(text string) string {
	var parts []string
	for part := range slices.Chunk([]byte(text), 255) {
		parts = append(parts, `"`+string(part)+`"`)
	}
	return strings.Join(parts, " ")
}

// The special lines of a message.
const (
	dkimLine   = "@dkim "
	beforeLine = "@before "
	afterLine  = "@after "
)

// signLines returns the message of lines, in which it replaces the special lines. A zero time is the current time.
func (k keys) signLines(lines []string, at time.Time) (string, error) {
	var original []string // lines of the message when it was signed
	for _, line := range lines {
		if text, ok := strings.CutPrefix(line, beforeLine); ok {
			line = text
		} else if strings.HasPrefix(line, dkimLine) || strings.HasPrefix(line, afterLine) {
			continue
		}
		original = append(original, line)
	}
	var message []string
	for _, line := range lines {
		if tags, ok := strings.CutPrefix(line, dkimLine); ok {
			field, err := k.sign(joinLines(original), tags, at)
			if err != nil {
				return "", fmt.Errorf("%s: %w", line, err)
			}
			line = field
		} else if strings.HasPrefix(line, beforeLine) {
			continue
		}
		message = append(message, strings.TrimPrefix(line, afterLine))
	}
	return joinLines(message), nil
}

// sign returns a DKIM-Signature field, RFC 6376 section 3.5. The tags, separated by spaces, are those of the field. The tags
// d and s are required; c is relaxed/relaxed and h the usual fields if they are not given; v, a, t, bh and b are added. A tag
// that is given is used as it is, right or wrong.
func (k keys) sign(message, text string, at time.Time) (string, error) {
	given := map[string]string{}
	for _, word := range strings.Fields(text) {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return "", fmt.Errorf("%q: want tag=value", word)
		}
		given[name] = value
	}
	key := k[strings.ToLower(given["s"]+"._domainkey."+given["d"])]
	if key == nil {
		return "", fmt.Errorf("the file has no part \"key %s._domainkey.%s\"", given["s"], given["d"])
	}
	if at.IsZero() {
		at = time.Now()
	}
	algorithm, hashed := "rsa-sha256", crypto.SHA256
	if _, ok := key.(ed25519.PrivateKey); ok {
		algorithm, hashed = "ed25519-sha256", crypto.Hash(0) // the key signs the hash as a message, RFC 8463 section 3
	}
	tags := map[string]string{
		"v": "1", "a": algorithm, "c": "relaxed/relaxed", "t": strconv.FormatInt(at.Unix(), 10), "h": "from:to:subject:date:message-id",
	}
	maps.Copy(tags, given)
	header, body, _ := strings.Cut(tags["c"], "/")
	_, text = Split(message)
	hash, err := bodyHash(text, dkim.Canonicalization(cmp.Or(body, "simple")), key)
	if err != nil {
		return "", err
	}
	tags["bh"] = cmp.Or(given["bh"], hash)
	field := "DKIM-Signature: " // without the signature in b=, which is over it too
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		field += name + "=" + tags[name] + ";\r\n\t"
	}
	field += "b="
	b, err := key.Sign(rand.Reader, headerHash(message, tags["h"], field, header == "relaxed"), hashed)
	return field + base64.StdEncoding.EncodeToString(b), err
}

// bodyHash returns the tag bh. The library also signs the header, but with the current time, which may not be that of the
// session.
func bodyHash(body string, c dkim.Canonicalization, key crypto.Signer) (string, error) {
	s, err := dkim.NewSigner(&dkim.SignOptions{Domain: "x", Selector: "x", Signer: key, BodyCanonicalization: c, HeaderKeys: []string{"From"}})
	if err != nil {
		return "", err
	}
	_, err = io.WriteString(s, "From: x\r\n\r\n"+body)
	if err := cmp.Or(err, s.Close()); err != nil {
		return "", err
	}
	for tag := range strings.SplitSeq(s.Signature(), ";") {
		if value, ok := strings.CutPrefix(strings.Join(strings.Fields(tag), ""), "bh="); ok {
			return value, nil
		}
	}
	return "", errors.New("the library returned no bh=")
}

// headerHash returns the hash of the fields that h lists and of the signature field without b=, RFC 6376 section 3.7.
func headerHash(message, h, signature string, relaxed bool) []byte {
	fields, _ := Split(message)
	hash := sha256.New()
	write := func(f headers.Field, end string) {
		text := f.Name + ":" + strings.ReplaceAll(f.Value, "\n", "\r\n")
		if relaxed { // section 3.4.2
			words := strings.FieldsFunc(f.Value, func(c rune) bool { return strings.ContainsRune(" \t\r\n", c) })
			text = strings.ToLower(strings.TrimRight(f.Name, " \t")) + ":" + strings.Join(words, " ")
		}
		_, _ = io.WriteString(hash, text+end) // a hash returns no error
	}
	for name := range strings.SplitSeq(h, ":") {
		for i, f := range slices.Backward(fields) {
			if f.Is(name) {
				write(f, "\r\n")
				fields = slices.Delete(fields, i, i+1)
				break
			}
		}
	}
	own, _ := Split(signature)
	write(own[0], "")
	return hash.Sum(nil)
}
