package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

// buildVersion is the tag or commit that the Makefile found. It is empty in a program that the go command built alone.
var buildVersion string

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), "milterd", version())
		},
	}
}

// version returns the version of the program and the Go release that built it, such as "v0.1.0 go1.26.0".
func version() string {
	recorded := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		recorded = info.Main.Version
	}
	return versionOf(buildVersion, recorded) + " " + runtime.Version()
}

// versionOf returns the version of a build: that of the Makefile, or the tag or pseudo-version that the go command recorded, or
// "unknown" with the reason.
func versionOf(made, recorded string) string {
	switch {
	case made != "":
		return made
	case recorded != "" && recorded != "(devel)":
		return recorded
	default:
		return "unknown (built without git)"
	}
}

// buildTime returns the time of the commit that the program was built from, or the zero time if it is not known.
func buildTime() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			t, _ := time.Parse(time.RFC3339, s.Value)
			return t
		}
	}
	return time.Time{}
}
