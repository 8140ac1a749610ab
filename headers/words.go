package headers

import (
	"bytes"
	"io"
	"mime"
)

// wordDecoder takes text in a charset that package mime does not know as ASCII, as most charsets have ASCII for the characters of an
// address. UTF-16 has them with zero bytes between.
var wordDecoder = mime.WordDecoder{CharsetReader: func(_ string, text io.Reader) (io.Reader, error) {
	b, err := io.ReadAll(text)
	return bytes.NewReader(bytes.ReplaceAll(b, []byte{0}, nil)), err
}}

// DecodeWords returns a text with its encoded-words decoded, RFC 2047 section 2. A malformed word stays as it is, and so may all that
// follows it.
func DecodeWords(text string) string {
	decoded, err := wordDecoder.DecodeHeader(text)
	if err != nil {
		return text
	}
	return decoded
}
