// Command milterd is a mail filter (milter) for Postfix and Sendmail. It checks the client, the sender and the header
// before a message is accepted, and explains each refusal.
//
// The names of the files say what they are about:
//
//	serve.go, daemon*.go    the daemon: serve starts its parts, daemon.go runs them, daemon_pages.go serves HTTP,
//	                        daemon_health.go says what is wrong
//	NAME.go, NAME_*.go      the command milterd NAME, or a group of commands: flags, what it does, output
//	admin.go                how commands call the daemon; both ends of a call are in the file of the command
//	setup.go, advice.go     a configuration: its file, its parts (pipeline, resolver, store), warnings about it
//	simulator.go            the pipeline of simulate and check-config
//	main.go and others      what commands share: arguments, ends of periods, output, exit statuses
//
// Package milter has the server for mail servers, package checks the pipeline, and the packages below internal the work of single
// commands.
//
// Start reading at serve.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // the names of time zones; a container may have no files for them

	"github.com/spf13/cobra"

	"milterd/checks"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes a command line and returns the exit status. Commands that take long end when ctx does.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return execute(ctx, newRoot(defaultConfigFile), args, stdout, stderr)
}

// newRoot returns the command milterd. defaultFile is the configuration file of commands without -c.
func newRoot(defaultFile string) *cobra.Command {
	var configFile string
	root := &cobra.Command{
		Use:   "milterd",
		Short: "A mail filter that checks the sender of a message and explains each refusal",
		Long: `milterd is a mail filter (milter) for Postfix (smtpd_milters) and Sendmail (INPUT_MAIL_FILTER). It checks reverse DNS, HELO,
sender, DNS lists, SPF, DKIM, DMARC and header fields before a message is accepted. Every refusal names its reason.

"milterd serve" runs the daemon; the other commands need no running daemon, or ask it over its admin socket.
"milterd doc" lists the guides; "milterd doc questions" leads from a question to the command or key that answers it.`,
		Args:          unknownCommand,
		SilenceErrors: true,
		SilenceUsage:  true,

		Version:          version(),
		RunE:             func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRun: func(*cobra.Command, []string) { configFile = chosenFile(configFile, defaultFile) },
	}
	root.SetVersionTemplate("milterd {{.Version}}\n")
	root.PersistentFlags().StringVarP(&configFile, "config", "c", "",
		"configuration `FILE` in YAML, or none for the built-in defaults (default: "+defaultConfigFile+" if there is one)")
	for _, newCommand := range []func(configFile *string) *cobra.Command{
		newServe, newCheckConfig, newSimulate, newReplay, newStatus, newGreylist, newAccess, newBlock, newWhy, newLog, newReport, newMirror, newDMARCReports,
	} {
		root.AddCommand(newCommand(&configFile))
	}
	root.AddCommand(newDoc(), newVersion())
	root.InitDefaultHelpCmd()
	if help, _, err := root.Find([]string{"help"}); err == nil {
		help.Args = helpArguments
	}
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		completion.Args, completion.RunE = unknownCommand, wantSubcommand // without RunE, it prints its help and succeeds
	}
	return root
}

// helpArguments returns an error for the name of a command that is not there. The command help of cobra prints the usage and succeeds.
func helpArguments(help *cobra.Command, args []string) error {
	cmd, rest, err := help.Root().Find(args)
	if err == nil && cmd.HasSubCommands() {
		return cmd.Args(cmd, rest)
	}
	return err
}

// newGroup returns a command that has sub-commands and does nothing itself. It fails without one of them, so that a
// script notices the mistake.
func newGroup(name, short string) *cobra.Command {
	return &cobra.Command{
		Use:   name,
		Short: short,
		Args:  unknownCommand,
		RunE:  wantSubcommand,
	}
}

func wantSubcommand(cmd *cobra.Command, _ []string) error {
	return checks.BadArgument("%s: want one of the commands %s", cmd.Name(), strings.Join(commandNames(cmd), ", "))
}

// commandNames returns the names of the sub-commands that the help of a command lists.
func commandNames(cmd *cobra.Command) (names []string) {
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

// unknownCommand returns an error for an argument of a command that takes none but the names of its sub-commands. A
// mistyped command must not do what the command above it does.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	remedy := suggestion(args[0], names, commandNames(cmd))
	if remedy == "" && !cmd.HasParent() {
		remedy = " (see --help)"
	}
	return fmt.Errorf("unknown command %q%s", args[0], remedy)
}
