package facts

import (
	"testing"

	"milterd/headers"
)

// TestPlainAuthors tests that From fields of ordinary mail are parsed once. It is not parallel: testing.AllocsPerRun counts for the whole
// process.
func TestPlainAuthors(t *testing.T) {
	const allocs = 4 // the mailbox, its address, the labels of its domain and the result
	for _, value := range []string{
		" Jane <jane@example.com>", " jane@example.com", ` "Doe, Jane" <jane@example.com>`, " =?UTF-8?Q?J=C3=B6rg?= <joerg@example.com>",
		" jane@example.com (Jane)", " Jane\n <jane@example.com>",
	} {
		header := []headers.Field{{Name: "From", Value: value}}
		if got := testing.AllocsPerRun(10, func() { authorsOf(header) }); got > allocs {
			t.Errorf("%q: %v allocations, %d are enough", value, got, allocs)
		}
	}
}
