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
		"=?utf-8?b?YUBiLmV4YW1wbA?=":          "a@b.exampl",
		"=?utf-8?b?YUBi!LmV4 YW1wbGU=?=":      "a@b.example",
		"=?utf-8?b?YUA=Yi5leA==?=":            "a@b.ex",
		"=?utf-8?q?a=40b=2eex=?=":             "a@b.ex=",
		"=?utf-8?q?a=40b=zz?=":                "a@b=zz",
		"=?a?bc?==?utf-8?q?a=40b?=":           "=?a?bc?=a@b",
		"=?a =?utf-8?q?a=40b?=":               "=?a a@b",
		"=?utf-7?q?a+AEA-b.example?=":         "a@b.example",
		"=?utf-7?q?a+AEAAYg.example?=":        "a@b.example",
		"=?utf-8?q?a=40b":                     "=?utf-8?q?a=40b",
	} {
		if got := headers.DecodeWords(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
