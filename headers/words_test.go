package headers_test

import (
	"testing"

	"milterd/headers"
)

func TestDecodeWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain":                               "plain",
		"=?utf-8?q?a=40b.example?= <x>":       "a@b.example <x>",
		"=?iso-8859-1?q?b=FCcher?=":           "bücher",
		"=?x-none?b?YUBiLmV4YW1wbGU=?=":       "a@b.example",
		"=?utf-16be?b?AGEAQABiAC4AZQB4?=":     "a@b.ex",
		"=?utf-8?b?YUBi?= =?utf-8?q?=2Eex?=":  "a@b.ex",
		"=?utf-8?b?!?=":                       "=?utf-8?b?!?=",
		"=?utf-8?q?a?= and =?utf-8?x?b?= and": "a and =?utf-8?x?b?= and",
	} {
		if got := headers.DecodeWords(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
