package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/cmd/milterd/internal/config"
)

// The numbers of arguments that commands take.
var (
	noArguments       = wantArguments(0, 0, "no argument")
	oneArgument       = wantArguments(1, 1, "one argument")
	oneOrTwoArguments = wantArguments(1, 2, "one or two arguments")
	atMostOne         = wantArguments(0, 1, "at most one argument")
)

// wantArguments returns a function that returns an error for fewer or more arguments. words say how many are wanted.
func wantArguments(least, most int, words string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return fmt.Errorf("want %s: %s (see --help)", words, cmd.UseLine())
		}
		return nil
	}
}

// wantPaths returns a function that returns an error without an argument. words say what a path leads to.
func wantPaths(words string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("%s: want %s", cmd.Name(), words)
		}
		return nil
	}
}

// checkPaths returns an error for a path that does not exist.
func checkPaths(paths []string) error {
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			return checks.WithoutCall(err)
		}
	}
	return nil
}

// parseClient parses an address or a network.
func parseClient(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return checks.ClientOf(a), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, checks.BadArgument("%q is no address and no network", text)
	}
	return checks.ParseNetwork(p.Masked().String()) // an IPv4-mapped network becomes an IPv4 network
}

// wholeNetwork returns an error for a network with bits set after the network part. Its length may be mistyped, and a block or an entry of
// a list would then be about many other hosts.
func wholeNetwork(text string) error {
	if p, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil && p != p.Masked() {
		return checks.BadArgument("%q has bits set after the network part; did you mean %q?", text, p.Masked())
	}
	return nil
}

// reasonIDs returns the ids of all reasons.
func reasonIDs() (ids []string) {
	for _, r := range all.Reasons() {
		ids = append(ids, r.ID)
	}
	return ids
}

// unknownWord returns the error for a word that is none of the valid ones.
func unknownWord(kind, word string, valid []string) error {
	return checks.BadArgument("there is no %s %q%s", kind, word, cmp.Or(suggestion(word, valid, valid), "; see milterd doc "+kind+"s"))
}

// suggestion returns what to write instead of a word: the nearest valid one, or all that are listed if they are few, or "".
func suggestion(word string, valid, listed []string) string {
	const few = 12
	switch near := config.Nearest(word, valid); {
	case near != "":
		return "; did you mean " + near + "?"
	case len(listed) <= few:
		return "; want one of " + strings.Join(listed, ", ")
	default:
		return ""
	}
}

// checkWhy returns an error for a text of --why that a reply cannot have: replies are in printable US-ASCII.
func checkWhy(text string) error {
	for _, c := range text {
		if c < ' ' || c > '~' {
			return checks.BadArgument("--why: %q cannot be in a reply; use printable US-ASCII", c)
		}
	}
	return nil
}
