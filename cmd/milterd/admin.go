package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"milterd/checks/all"
	"milterd/cmd/milterd/internal/admin"
	"milterd/cmd/milterd/internal/config"
)

// functions returns what the daemon does for commands, by the names that the commands call.
func (d *daemon) functions() map[string]http.Handler {
	return map[string]http.Handler{
		"status":             admin.Function(d.status),
		"log":                admin.Function(d.findRecords),
		"why":                admin.Function(d.why),
		"simulate":           admin.Function(d.simulateLive),
		"access/list":        admin.Function(d.listAccess),
		"access/add":         admin.Function(d.addAccess),
		"access/remove":      admin.Function(d.removeAccess),
		"block/list":         admin.Function(d.listBlocks),
		"block/add":          admin.Function(d.addBlock),
		"block/remove":       admin.Function(d.removeBlock),
		"greylist/list":      admin.Function(d.listTriplets),
		"greylist/show":      admin.Function(d.showGreylist),
		"greylist/allow":     admin.Function(d.allowClient),
		"greylist/forget":    admin.Function(d.forgetGreylist),
		"report/daily":       admin.Function(d.reportDaily),
		"report/watch":       admin.Function(d.reportWatch),
		"report/action":      admin.Function(d.reportAction),
		"report/forwarders":  admin.Function(d.reportForwarders),
		"report/retry":       admin.Function(d.reportRetry),
		"report/dmarc":       admin.Function(d.reportDMARC),
		"dmarc-reports/keep": admin.Function(d.keepReports),
		"report/mirror":      admin.Function(d.reportMirror),
		"mirror":             admin.Function(d.testDomain),
	}
}

// noArgs are the arguments of a function that has none.
type noArgs struct{}

// remote has the flags of a command that calls a function of the running daemon.
type remote struct {
	configFile *string
	socket     string // empty: that of the configuration
	json       bool
}

// newRemote adds the flags to a command and to its sub-commands.
func newRemote(cmd *cobra.Command, configFile *string) *remote {
	r := &remote{configFile: configFile}
	cmd.PersistentFlags().StringVar(&r.socket, "socket", "", "admin `SOCKET` of the daemon (default: admin.socket of the configuration, or "+config.DefaultAdminSocket+")")
	cmd.PersistentFlags().BoolVar(&r.json, "json", false, "print the result as JSON")
	return r
}

// newQuery returns a command without arguments that shows the result of a function of the daemon. args may point to what flags set.
func newQuery[R any](r *remote, name, short, function string, args any, show func(io.Writer, R)) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return call(cmd, r, function, args, show) },
	}
}

// call calls a function of the daemon. It prints the result with show, or as JSON.
func call[R any](cmd *cobra.Command, r *remote, name string, args any, show func(io.Writer, R)) error {
	result, text, err := ask[R](cmd.Context(), r, name, args)
	if err != nil {
		return err
	}
	return printResult(cmd, r, text, result, show)
}

// ask calls a function of the daemon. It returns the result, decoded and as JSON.
func ask[R any](ctx context.Context, r *remote, name string, args any) (result R, text json.RawMessage, err error) {
	socket, err := r.adminSocket()
	if err != nil {
		return result, nil, err
	}
	if err := admin.Call(ctx, socket, name, args, &text); err != nil {
		return result, nil, err
	}
	return result, text, json.Unmarshal(text, &result)
}

// printResult prints a result with show, or its text, which is JSON.
func printResult[R any](cmd *cobra.Command, r *remote, text json.RawMessage, result R, show func(io.Writer, R)) error {
	if r.json {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", text)
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	show(w, result)
	return w.Flush()
}

// adminSocket returns the path of the daemon's admin socket: that of the flag, or of the configuration file, or the default. Errors
// elsewhere in the file do not matter: the daemon runs with the configuration that it read before.
func (r *remote) adminSocket() (string, error) {
	switch path := pathOf(*r.configFile); {
	case r.socket != "":
		return strings.TrimPrefix(r.socket, "unix:"), nil
	case path == "":
		return config.DefaultAdminSocket, nil
	default:
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("-c: there is no file %s; correct the path, or name the socket of the daemon with --socket", path)
		}
		socket := config.AdminSocket(path, all.Checks)
		if socket == "" {
			return "", &admin.NoDaemon{Err: fmt.Errorf("admin.socket is empty in %s: the daemon takes no commands; set it and restart the daemon", path)}
		}
		return socket, nil
	}
}
