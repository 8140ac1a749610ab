package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"strings"

	"milterd/checks"
)

// key is a key record, section 3.6.1.
type key struct {
	algorithm string           // k=, in lower case
	public    crypto.PublicKey // p=: *rsa.PublicKey or ed25519.PublicKey
	hashes    string           // h=
	strict    bool             // t=s: i= must not be in a subdomain of d=
	testing   bool             // t=y
}

// KeyFault returns why the answer to the question for a key has no key that a signature could be verified with, or "".
func KeyFault(a checks.Answer) string {
	_, _, why := readKey(a)
	return why
}

// readKey returns the key in an answer. If there is no usable key, it returns a status and why.
func readKey(a checks.Answer) (k key, status Status, why string) {
	texts := checks.Texts(a)
	switch {
	case len(texts) == 0:
		return k, PermError, "there is no key record"
	case len(texts) > 1: // section 3.6.2.2
		return k, PermError, "there are several key records"
	case len(texts[0]) > 4<<10:
		return k, PermError, "the key record has over 4 KiB"
	}
	return parseKey(texts[0])
}

// parseKey parses a key record. Section 3.6.1 wants v= first; it is accepted anywhere, as by other verifiers.
func parseKey(text string) (k key, status Status, why string) {
	tags, _, why := parseTags(text)
	if why != "" {
		return k, PermError, "key record: " + why
	}
	for name, value := range map[string]string{"v": "DKIM1", "k": "rsa", "h": "sha256", "s": "*"} { // the defaults
		if _, ok := tags[name]; !ok {
			tags[name] = value
		}
	}
	k = key{algorithm: strings.ToLower(tags["k"]), hashes: tags["h"], strict: listed(tags["t"], "s"), testing: listed(tags["t"], "y")}
	p, ok := tags["p"]
	data, err := decodeKey(p)
	switch {
	case tags["v"] != "DKIM1":
		return k, PermError, "key record: v= is not DKIM1"
	case !ok:
		return k, PermError, "key record: p= is missing"
	case p == "":
		return k, Fail, "the key was revoked"
	case !listed(tags["s"], "*") && !listed(tags["s"], "email"):
		return k, PermError, "key record: s= does not permit email"
	case err != nil:
		return k, PermError, "key record: p= is not base64"
	}
	k.public, status, why = publicKey(k.algorithm, data)
	return k, status, why
}

// decodeKey decodes the base64 of p=. It ignores characters that are not in the alphabet: some owners publish p= with the
// quotes of a zone file or with wrong padding, and other verifiers accept that.
func decodeKey(text string) ([]byte, error) {
	if data, err := decodeBase64(text); err == nil {
		return data, nil
	}
	return base64.RawStdEncoding.DecodeString(strings.Map(func(c rune) rune {
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' {
			return c
		}
		return -1
	}, text))
}

// publicKey parses the data of p=. Erratum 3017 permits an RSAPublicKey instead of a SubjectPublicKeyInfo; an Ed25519 key has
// no ASN.1 around it, RFC 8463 section 4.
func publicKey(algorithm string, data []byte) (public crypto.PublicKey, status Status, why string) {
	if algorithm == "ed25519" && len(data) == ed25519.PublicKeySize {
		return ed25519.PublicKey(data), "", ""
	}
	public, err := x509.ParsePKIXPublicKey(data)
	if err != nil {
		public, err = x509.ParsePKCS1PublicKey(data)
	}
	k, ok := public.(*rsa.PublicKey)
	switch {
	case algorithm != "rsa" || err != nil || !ok:
		return nil, PermError, "key record: p= is not a key of a known algorithm"
	case k.N.BitLen() < 1024: // RFC 8301 section 3.2
		return nil, Policy, "the RSA key has under 1024 bits"
	case k.N.BitLen() > 4096: // with double the bits, a verification takes four times as long
		return nil, PermError, "the RSA key has over 4096 bits"
	}
	return k, "", ""
}

// forbids returns why the record does not permit a signature, section 6.1.2, or "".
func (k key) forbids(sig *signature) string {
	algorithm, hash, _ := strings.Cut(sig.Algorithm, "-")
	switch {
	case algorithm != k.algorithm:
		return "the key is for another algorithm"
	case !listed(k.hashes, hash):
		return "key record: h= does not permit the hash"
	case k.strict && sig.agent != sig.Domain:
		return "key record: t=s does not permit a subdomain in i="
	}
	return ""
}
