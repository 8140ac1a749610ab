// Command milterd is a mail filter (milter) for Postfix and Sendmail. It checks the client, the sender and the header before a
// message is accepted, and explains each refusal.
//
// This package has the commands. Begin to read at serve, which starts the daemon.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes the command line until it is done or ctx is, and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errReported):
		return 1
	}
	fmt.Fprintln(stderr, "milterd:", err)
	return 1
}

// errReported is the error of a command that has printed what is wrong.
var errReported = errors.New("failed")

func newRoot() *cobra.Command {
	var configFile string
	root := &cobra.Command{
		Use:   "milterd",
		Short: "a milter that checks who sends, and says why when it refuses",
		Long: `milterd is a mail filter for Postfix (smtpd_milters) and Sendmail (INPUT_MAIL_FILTER). It checks reverse DNS, HELO,
sender, SPF and header fields before a message is accepted, and every refusal names its reason.

Without a command it serves.`,
		Args:          noSuchCommand,
		SilenceErrors: true,
		SilenceUsage:  true,

		SuggestionsMinimumDistance: 2,
		Version:                    version(),
	}
	root.SetVersionTemplate("milterd {{.Version}}\n")
	root.PersistentFlags().StringVarP(&configFile, "config", "c", "", "configuration `FILE` (YAML); without one the defaults hold")
	serve := newServe(&configFile)
	root.Flags().AddFlagSet(serve.Flags())
	root.RunE = serve.RunE
	root.AddCommand(serve, newCheckConfig(&configFile), newSimulate(&configFile), newReplay(&configFile), newDoc(),
		newStatus(&configFile), newGreylist(&configFile), newBlock(&configFile), newLog(&configFile), newReport(&configFile), newVersion())
	return root
}

// noSuchCommand returns an error for an argument of the root command: a mistyped command must not start a daemon.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return fmt.Errorf("unknown command %q%s", args[0], hint)
}
