package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/session"
	"milterd/cmd/milterd/internal/sockets"
)

func newCheckConfig(configFile *string) *cobra.Command {
	sessions := ""
	cmd := &cobra.Command{
		Use:   "check-config [FILE]",
		Short: "Check a configuration",
		Long: `Check a configuration file: FILE, that of -c, or the default one. All errors and warnings are printed, each with the file, the line
and the column if it has one, and what to write. Warnings are about what is allowed and rarely meant: no local_domains, a loopback
network that is not trusted, a password that every user can read, a socket that Postfix cannot open. For root, they are also about
files of the default configuration that the user milterd may not read.

With --sessions, the session files of a folder are played with the configuration. A file needs its own DNS; a configuration in it is not
used. "milterd simulate --record" writes such files.

The exit status is 1 if there is an error, the file cannot be read, or a session has another reply than its file expects, and 0 if there
are only warnings.`,
		Example: `  milterd check-config
  milterd check-config new.yaml
  milterd check-config --sessions /etc/milterd/sessions new.yaml`,
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			file := *configFile
			if len(args) > 0 {
				if cmd.Flags().Changed("config") {
					return checks.BadArgument("want one file: %s or %s", args[0], file)
				}
				file = args[0]
			}
			cfg, err := loadConfig(file, true, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := printProblems(append(checkSockets(cmd.Context(), cfg), checkReadable(cfg, pathOf(file))...), true, cmd.ErrOrStderr()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: no errors\n", cmp.Or(pathOf(file), "the default configuration"))
			if sessions != "" {
				return checkSessions(cmd, cfg, sessions)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&sessions, "sessions", "", "play the session files (*.session) of `FOLDER` with the configuration")
	return cmd
}

// checkSockets returns an error for each socket that this machine cannot have.
func checkSockets(ctx context.Context, cfg *config.Config) config.Problems {
	var list config.Problems
	for _, l := range cfg.Listen {
		if err := sockets.Check(ctx, l); err != nil {
			list = append(list, cfg.PlaceOf(l).Saying("%s: %v", l, err))
		}
	}
	return list
}

// checkSessions plays the session files of a folder with a configuration.
func checkSessions(cmd *cobra.Command, cfg *config.Config, folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("--sessions: %w", checks.WithoutCall(err))
	}
	var paths []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".session") {
			paths = append(paths, filepath.Join(folder, e.Name()))
		}
	}
	if len(paths) == 0 {
		return fmt.Errorf("--sessions %s: no file there ends with .session", folder)
	}
	failed := 0
	for _, path := range paths {
		var wrong []*session.Mismatch
		script, err := session.Read(path)
		if err == nil {
			wrong, err = playWith(cfg, script)
		}
		if err != nil {
			fmt.Fprintln(cmd.ErrOrStderr(), err)
		}
		for _, m := range wrong {
			fmt.Fprintln(cmd.ErrOrStderr(), m)
		}
		if err != nil || len(wrong) > 0 {
			failed++
		}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d of %d sessions have the replies that their files expect\n", len(paths)-failed, len(paths))
	if failed > 0 {
		return errReported
	}
	return nil
}
