package main

import (
	"math"
	"strings"
	"testing"

	"milterd/checks/greylist"
)

// TestTripletsArePrintable tests that the list of triplets has none of the control characters that a client can send in an
// address, and that a long address is not cut.
func TestTripletsArePrintable(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 64) + "@" + strings.Repeat("y", 60) + ".example"
	var out strings.Builder
	showTriplets(&out, []greylist.Triplet{{From: "\x1b[2J\t@x", To: long}})
	if got := out.String(); strings.Contains(got, "\x1b") || !strings.Contains(got, "\t<?[2J @x>\t<"+long+">\t") {
		t.Errorf("shown: %q", got)
	}
}

// TestListIsBounded tests that a list of all triplets takes bounded memory, and that one that is cut by the bound is an error.
func TestListIsBounded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name               string
		stored, most, want int
		wantErr            string
	}{
		{name: "as many as the bound", stored: maxTriplets, want: maxTriplets},
		{name: "one more", stored: maxTriplets + 1, wantErr: "more than 100000 triplets"},
		{name: "without an end", stored: math.MaxInt, wantErr: "more than 100000 triplets"},
		{name: "--max 10 of many", stored: maxTriplets + 1, most: 10, want: 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			read := 0
			list, err := boundedList(func(yield func(greylist.Triplet, error) bool) {
				for read < test.stored {
					read++
					if !yield(greylist.Triplet{To: "bob@example.org"}, nil) {
						return
					}
				}
			}, test.most)
			if len(list) != test.want || read > maxTriplets+1 {
				t.Errorf("%d triplets, want %d; %d read", len(list), test.want, read)
			}
			if test.wantErr == "" && err != nil || test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestNothingSelected tests that an empty argument selects no triplets, instead of all.
func TestNothingSelected(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, nil)
	if _, err := d.allowClient(t.Context(), greylistArgs{What: "192.0.2.9"}); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"", " "} {
		s, shown := d.showGreylist(t.Context(), greylistArgs{What: what})
		r, forgotten := d.forgetGreylist(t.Context(), removeArgs{What: what, Many: true})
		for _, err := range []error{shown, forgotten} {
			if err == nil || !strings.Contains(err.Error(), "nothing is selected") {
				t.Errorf("%q: %+v, %+v, %v", what, s, r, err)
			}
		}
	}
}
