package headers

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"regexp"
	"strconv"
	"strings"
)

// wordDecoder decodes charsets that package mime does not know as if they were ASCII. In most of them, the characters of an address are
// ASCII. UTF-16 has zero bytes between them, and UTF-7 has some in base64.
var wordDecoder = mime.WordDecoder{CharsetReader: func(charset string, text io.Reader) (io.Reader, error) {
	b, err := io.ReadAll(text)
	if strings.Contains(strings.ToLower(charset), "utf-7") {
		b = shifted.ReplaceAllFunc(b, func(s []byte) []byte { return []byte(decodeBase64(string(s[1:]))) })
	}
	return bytes.NewReader(bytes.ReplaceAll(b, []byte{0}, nil)), err
}}

var shifted = regexp.MustCompile(`\+[A-Za-z0-9+/]+-?`) // RFC 2152

// DecodeWords returns a text with its encoded-words decoded, RFC 2047 section 2. It decodes malformed ones too, as mail programs do:
// base64 without padding or with other characters in it, and quoted-printable with a "=" without two hexadecimal digits.
func DecodeWords(text string) string {
	var b strings.Builder
	afterWord := false
	for {
		start := strings.Index(text, "=?")
		if start < 0 {
			break
		}
		before, head := text[:start], wordHead.FindStringSubmatch(text[start:])
		if head == nil {
			b.WriteString(text[:start+2])
			text, afterWord = text[start+2:], false
			continue
		}
		content, rest, closed := strings.Cut(text[start+len(head[0]):], "?=")
		if !closed {
			break
		}
		if !afterWord || strings.Trim(before, " \t\r\n") != "" {
			b.WriteString(before)
		}
		b.WriteString(decodeWord(head[1], head[2], content))
		text, afterWord = rest, true
	}
	return b.String() + text
}

// wordHead is the beginning of an encoded-word: its charset and its encoding.
var wordHead = regexp.MustCompile(`^=\?([^?]{1,75})\?([BbQq])\?`)

// decodeWord returns the text of an encoded-word, or the word itself if it has none.
func decodeWord(charset, encoding, content string) string {
	word := "=?" + charset + "?" + encoding + "?" + content + "?="
	decoded := ""
	if strings.EqualFold(encoding, "b") {
		decoded = decodeBase64(content)
	} else {
		decoded = escapedByte.ReplaceAllStringFunc(strings.ReplaceAll(content, "_", " "), func(s string) string {
			n, _ := strconv.ParseUint(s[1:], 16, 8)
			return string([]byte{byte(n)})
		})
	}
	// Package mime converts a charset only in an encoded-word.
	text, err := wordDecoder.Decode("=?" + charset + "?b?" + base64.StdEncoding.EncodeToString([]byte(decoded)) + "?=")
	if err != nil || decoded == "" {
		return word
	}
	return text
}

var escapedByte = regexp.MustCompile("=[0-9A-Fa-f]{2}")

// decodeBase64 decodes base64 that may be in pieces with padding between them, and may have other characters in it.
func decodeBase64(text string) string {
	var decoded []byte
	for piece := range strings.SplitSeq(text, "=") {
		b, _ := base64.RawStdEncoding.DecodeString(notBase64.ReplaceAllString(piece, ""))
		decoded = append(decoded, b...)
	}
	return string(decoded)
}

var notBase64 = regexp.MustCompile("[^A-Za-z0-9+/]")
