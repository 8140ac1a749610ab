package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newCheckConfig(configFile *string) *cobra.Command {
	return &cobra.Command{
		Use:   "check-config",
		Short: "Check the configuration",
		Long: `Check the configuration and print all errors and warnings, each with file, line and column. The exit code is 1 if there is
an error.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(*configFile, true, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			for _, l := range cfg.Listen {
				if _, err := groupID(l.Group); l.Group != "" && err != nil {
					return fmt.Errorf("%s: listen: %s: group %q: %w", *configFile, l, l.Group, err)
				}
			}
			name := *configFile
			if name == "" {
				name = "the default configuration"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: no errors\n", name)
			return nil
		},
	}
}
