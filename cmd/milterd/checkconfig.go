package main

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"
)

func newCheckConfig(configFile *string) *cobra.Command {
	return &cobra.Command{
		Use:   "check-config [FILE]",
		Short: "Check a configuration",
		Long: `Check a configuration file: FILE, that of -c, or the default one. All errors and warnings are printed, each with the file, the line
and the column if it has one, and what to write. Warnings are about what is allowed and rarely meant: no local_domains, a loopback
network that is not trusted, a password that every user can read, a socket that Postfix cannot open.

The exit status is 1 if there is an error or the file cannot be read, and 0 if there are only warnings.`,
		Example: `  milterd check-config
  milterd check-config new.yaml`,
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			file := *configFile
			if len(args) > 0 {
				if cmd.Flags().Changed("config") {
					return wrongUsage("want one file: %s or %s", args[0], file)
				}
				file = args[0]
			}
			cfg, err := loadConfig(file, true, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			for _, l := range cfg.Listen {
				if _, err := groupID(l.Group); l.Group != "" && err != nil {
					return fmt.Errorf("%s: listen: %s: there is no group %q on this machine; write one that has the mail server as a member", pathOf(file), l, l.Group)
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: no errors\n", cmp.Or(pathOf(file), "the default configuration"))
			return nil
		},
	}
}
