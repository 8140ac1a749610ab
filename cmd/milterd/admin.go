package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks/all"
	"milterd/checks/counters"
	"milterd/checks/greylist"
	"milterd/cmd/milterd/internal/admin"
	"milterd/cmd/milterd/internal/config"
)

// remote is what the commands that ask the running daemon have in common.
type remote struct {
	configFile *string
	socket     string
	json       bool
}

func (r *remote) flags(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&r.socket, "socket", "", "the daemon's admin `SOCKET`; without it that of the configuration")
	cmd.PersistentFlags().BoolVar(&r.json, "json", false, "print JSON")
}

// newGroup is a command that only its sub-commands do something. Without one of them, or with one that does not exist, it
// fails: a script must notice.
func newGroup(name, short string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Args: noSuchCommand, SuggestionsMinimumDistance: 2,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var names []string
			for _, c := range cmd.Commands() {
				if c.IsAvailableCommand() {
					names = append(names, c.Name())
				}
			}
			return fmt.Errorf("%s what? There is %s", name, strings.Join(names, ", "))
		},
	}
}

// oneWord wants the one argument that the command's Use names.
func oneWord(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one argument: %s (see --help)", cmd.UseLine())
	}
	return nil
}

// ask calls a function of the daemon and prints what it answers: as JSON, or as people like it.
func ask[T any](cmd *cobra.Command, r *remote, name string, args any, show func(io.Writer, T)) error {
	socket := r.socket
	if socket == "" {
		socket = config.DefaultAdminSocket
		if *r.configFile != "" {
			cfg, problems := config.Load(*r.configFile, all.Checks)
			if err := problems.Err(); err != nil {
				return err
			}
			socket = cfg.Admin.Socket
		}
	}
	if socket == "" {
		return errors.New("the configuration switches admin.socket off: nobody can ask the daemon")
	}
	var answer json.RawMessage
	if err := admin.Call(cmd.Context(), socket, name, args, &answer); err != nil {
		return err
	}
	if r.json {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", answer)
		return err
	}
	var value T
	if err := json.Unmarshal(answer, &value); err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	show(w, value)
	return w.Flush()
}

func newStatus(configFile *string) *cobra.Command {
	r := &remote{configFile: configFile}
	cmd := &cobra.Command{
		Use: "status", Short: "Show how the running daemon does", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return ask(cmd, r, "status", nil, showStatus) },
	}
	r.flags(cmd)
	return cmd
}

func newBlock(configFile *string) *cobra.Command {
	r := &remote{configFile: configFile}
	cmd := newGroup("block", "List and change the temporary blocks of clients")
	r.flags(cmd)
	var args clientArgs
	length := "1h"
	add := &cobra.Command{
		Use: "add CLIENT", Short: "Block a client: an IPv4 address, or an IPv6 address with its /64", Args: oneWord,
		RunE: func(cmd *cobra.Command, words []string) (err error) {
			args.Client = words[0]
			if args.For, err = config.ParseDuration(length); err != nil {
				return fmt.Errorf("--for: %w", err)
			}
			return ask(cmd, r, "block/add", args, func(w io.Writer, b counters.Blocked) { showBlocks(w, []counters.Blocked{b}) })
		},
	}
	add.Flags().StringVar(&length, "for", length, "how `LONG`, 366d at most: s, m, h, d")
	add.Flags().StringVar(&args.Why, "why", "", "`REASON`, which the reply tells: completes \"is blocked for ...\"")
	cmd.AddCommand(add, &cobra.Command{
		Use: "list", Short: "List the clients under a block", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return ask(cmd, r, "block/list", nil, showBlocks) },
	}, &cobra.Command{
		Use: "remove CLIENT", Short: "End the block of a client and forget what was counted", Args: oneWord,
		RunE: func(cmd *cobra.Command, words []string) error {
			blocked := true
			err := ask(cmd, r, "block/remove", clientArgs{Client: words[0]}, func(w io.Writer, was bool) {
				if blocked = was; was {
					fmt.Fprintln(w, words[0], "is free")
				}
			})
			if err == nil && !blocked {
				return fmt.Errorf("%s was not blocked", words[0])
			}
			return err
		},
	})
	return cmd
}

func newGreylist(configFile *string) *cobra.Command {
	r := &remote{configFile: configFile}
	cmd := newGroup("greylist", "List and change what greylisting knows")
	r.flags(cmd)
	most := 1000
	list := &cobra.Command{
		Use: "list [WHAT]", Short: "List triplets, of a client address, network, domain or mailbox", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, words []string) error {
			args := whatArgs{Max: most}
			if len(words) > 0 {
				args.What = words[0]
			}
			return ask(cmd, r, "greylist/list", args, showTriplets)
		},
	}
	list.Flags().IntVar(&most, "max", most, "list `N` at most; 0: all")
	one := func(use, short, function string, run func(cmd *cobra.Command, args whatArgs) error) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: oneWord, RunE: func(cmd *cobra.Command, words []string) error {
			return run(cmd, whatArgs{What: words[0]})
		}}
	}
	cmd.AddCommand(list,
		one("show WHAT", "Show the triplets and clients of an address, network, domain or mailbox", "greylist/show", func(cmd *cobra.Command, args whatArgs) error {
			return ask(cmd, r, "greylist/show", args, func(w io.Writer, s greylist.Selection) {
				showTriplets(w, s.Triplets)
				showClients(w, s.Clients)
			})
		}),
		one("allow CLIENT", "Let a client through at once: an address, its /24 or /64, the organisational domain of its name, or a domain for which it passes SPF", "greylist/allow", func(cmd *cobra.Command, args whatArgs) error {
			return ask(cmd, r, "greylist/allow", args, func(w io.Writer, c greylist.Client) {
				showClients(w, []greylist.Client{c})
				if c.Note != "" {
					fmt.Fprintln(w, "Note:", c.Note+".")
				}
			})
		}),
		one("forget WHAT", "Forget the triplets and clients of an address, network, domain or mailbox", "greylist/forget", func(cmd *cobra.Command, args whatArgs) error {
			return ask(cmd, r, "greylist/forget", args, func(w io.Writer, n int) { fmt.Fprintln(w, n, "records forgotten") })
		}),
	)
	return cmd
}

func newReport(configFile *string) *cobra.Command {
	r := &remote{configFile: configFile}
	cmd := newGroup("report", "Say what follows from what was seen")
	r.flags(cmd)
	var args evidenceArgs
	watch := &cobra.Command{
		Use: "watch", Short: "Which watched reasons are safe to enforce, which are not, and because of which senders", Long: aboutEvidence, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return ask(cmd, r, "report/watch", args, showWatch) },
	}
	action := &cobra.Command{
		Use: "action", Short: "Whom the enforced reasons refused, and who of them was found good", Long: aboutEvidence, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return ask(cmd, r, "report/action", args, showAction) },
	}
	for _, c := range []*cobra.Command{watch, action} {
		c.Flags().StringVar(&args.Reason, "reason", "", "this `REASON` alone, with up to 50 of its senders")
	}
	cmd.AddCommand(watch, action, &cobra.Command{
		Use: "retry", Short: "Who came back after greylisting, how long it took, who never did", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return ask(cmd, r, "report/retry", nil, showRetry) },
	})
	return cmd
}

// when is a time for people, in their own zone.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

func seconds(n int64) string { return config.FormatDuration(time.Duration(n) * time.Second) }
