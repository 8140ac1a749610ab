package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newCheckConfig(configFile *string) *cobra.Command {
	return &cobra.Command{
		Use:   "check-config",
		Short: "Check the configuration and print all errors at once",
		Long: `Check the configuration and print every error and warning with file, line and column.
The exit code is 0 if the daemon would start with it, else 1.`,
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
			fmt.Fprintln(cmd.OutOrStdout(), name, "is good")
			return nil
		},
	}
}
