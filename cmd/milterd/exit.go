package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/cmd/milterd/internal/admin"
	"milterd/cmd/milterd/internal/config"
)

// The exit statuses of all commands.
const (
	exitDone     = 0 // a list without entries and a refusal in a simulation are no error
	exitNo       = 1 // the answer is no, or the command failed
	exitUsage    = 2 // the command line is wrong
	exitNoDaemon = 3 // no daemon answers
)

// errReported is the error of a command that has already printed why it failed.
var errReported = errors.New("failed")

// execute executes a command line, prints its error and returns the exit status.
func execute(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	begun := false // an error before a command begins is about the command line
	begin := root.PersistentPreRun
	root.PersistentPreRun = func(cmd *cobra.Command, args []string) {
		begun = true
		begin(cmd, args)
	}
	root.SetArgs(args)
	out := &checkedWriter{Writer: stdout}
	root.SetOut(out)
	if isTerminal(stdout) {
		root.SetOut(stdout) // guides ask it for its width
	}
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		path := strings.Fields(c.CommandPath())[1:]
		if c.HasSubCommands() && len(args) > len(path) && slices.Equal(args[:len(path)], path) && !strings.HasPrefix(args[len(path)], "-") {
			return c.Args(c, args[len(path):]) // the flag is one of the mistyped command
		}
		return flagError(c, err)
	})
	err := plainError(root.ExecuteContext(ctx))
	if out.err != nil {
		begun, err = true, out.err
	}
	if err != nil && !errors.Is(err, errReported) {
		fmt.Fprintln(stderr, "milterd:", err)
	}
	switch {
	case err == nil:
		return exitDone
	case !begun, errors.As(err, new(*checks.ArgumentError)):
		return exitUsage
	case errors.As(err, new(*admin.NoDaemon)):
		return exitNoDaemon
	default:
		return exitNo
	}
}

// listedFlag matches the name of a flag in the usage of flags.
var listedFlag = regexp.MustCompile(`(?m)^ +(?:-\w, )?--([\w-]+)`)

// flagError returns an error about a flag, with the nearest flag if there is none of the name.
func flagError(cmd *cobra.Command, err error) error {
	name, unknown := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !unknown {
		return err
	}
	var names []string
	for _, m := range listedFlag.FindAllStringSubmatch(cmd.Flags().FlagUsages(), -1) {
		names = append(names, m[1])
	}
	if near := config.Nearest(name, names); near != "" {
		return fmt.Errorf("%w; did you mean --%s?", err, near)
	}
	return fmt.Errorf("%w (see --help)", err)
}

// checkedWriter keeps the first error, so that a command need not look at each.
type checkedWriter struct {
	io.Writer
	err error
}

// Write implements io.Writer.
func (w *checkedWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.err = cmp.Or(w.err, err)
	return n, err
}

// excluding matches cobra's error for flags that exclude each other.
var excluding = regexp.MustCompile(`none of the others can be; \[(.+)\] were all set$`)

// notValue matches the error of a flag whose value is no number, or neither true nor false.
var notValue = regexp.MustCompile(`^invalid argument (".*") for "(?:-\w, )?(--[\w-]+)" flag: strconv\.(\w+)`)

// plainError returns an error of cobra in plain words.
func plainError(err error) error {
	if err == nil {
		return nil
	}
	if m := excluding.FindStringSubmatch(err.Error()); m != nil {
		return checks.BadArgument("--%s cannot be used together", strings.Join(strings.Fields(m[1]), " and --"))
	}
	switch m := notValue.FindStringSubmatch(err.Error()); {
	case m == nil:
		return err
	case m[3] == "ParseBool":
		return checks.BadArgument("%s: %s is neither true nor false", m[2], m[1])
	default:
		return checks.BadArgument("%s: %s is not a whole number", m[2], m[1])
	}
}
