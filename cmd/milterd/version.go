package main

import (
	"fmt"
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
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), "milterd", version())
		},
	}
}

// version returns the version of the program and the Go release that built it, such as "v0.1.0 go1.26.0".
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{GoVersion: "an unknown Go release"}
	}
	return versionOf(buildVersion, info) + " " + info.GoVersion
}

// versionOf returns the version of a build: that of the Makefile, the tag or commit that the go command recorded, or "unknown"
// with the reason.
func versionOf(made string, info *debug.BuildInfo) string {
	if made != "" {
		return made
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v // a tag, or a pseudo-version with the time and the commit
	}
	const shortest = 12 // digits of a commit, as in pseudo-versions
	commit, modified := buildSetting(info, "vcs.revision"), buildSetting(info, "vcs.modified") == "true"
	switch {
	case commit == "":
		return "unknown (built without git)"
	case modified:
		return commit[:min(shortest, len(commit))] + "-dirty"
	default:
		return commit[:min(shortest, len(commit))]
	}
}

// buildSetting returns a build setting, or "".
func buildSetting(info *debug.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// buildTime returns the time of the commit that the program was built from, or the zero time if it is not known.
func buildTime() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	t, _ := time.Parse(time.RFC3339, buildSetting(info, "vcs.time"))
	return t
}
