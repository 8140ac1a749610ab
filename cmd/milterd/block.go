package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/checks/counters"
	"milterd/cmd/milterd/internal/config"
)

func newBlock(configFile *string) *cobra.Command {
	cmd := newGroup("block", "List, add and remove temporary blocks of clients")
	r := newRemote(cmd, configFile)
	cmd.AddCommand(newBlockAdd(r), &cobra.Command{
		Use:   "list",
		Short: "List the blocked clients",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return call(cmd, r, "block/list", noArgs{}, showBlocks)
		},
	}, &cobra.Command{
		Use:   "remove CLIENT",
		Short: "Remove the block of a client and reset its counts",
		Args:  oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			return call(cmd, r, "block/remove", blockArgs{Client: args[0]}, func(w io.Writer, _ bool) {
				fmt.Fprintln(w, args[0], "is no longer blocked")
			})
		},
	})
	return cmd
}

func newBlockAdd(r *remote) *cobra.Command {
	var block blockArgs
	duration := "1h"
	cmd := &cobra.Command{
		Use:   "add CLIENT",
		Short: "Block a client: an IPv4 address, or the /64 network of an IPv6 address",
		Args:  oneArgument,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			block.Client = args[0]
			if block.For, err = config.ParseDuration(duration); err != nil {
				return wrongUsage("--for: %w", err)
			}
			return call(cmd, r, "block/add", block, func(w io.Writer, b counters.Blocked) {
				showBlocks(w, []counters.Blocked{b})
			})
		},
	}
	cmd.Flags().StringVar(&duration, "for", duration, "`DURATION` of the block in s, m, h or d, at most 366d")
	cmd.Flags().StringVar(&block.Why, "why", "", "`REASON` of the block; the reply says \"is blocked until TIME for REASON\"")
	return cmd
}

// blockArgs are the arguments of the functions block/add and block/remove. The latter uses Client alone.
type blockArgs struct {
	Client string        `json:"client"`
	For    time.Duration `json:"for"`
	Why    string        `json:"why"` // empty: the default
}

func (d *daemon) listBlocks(ctx context.Context, _ noArgs) ([]counters.Blocked, error) {
	return counters.Blocks(ctx, d.store, time.Now())
}

func (d *daemon) addBlock(ctx context.Context, a blockArgs) (counters.Blocked, error) {
	client, err := parseClient(a.Client)
	if err != nil {
		return counters.Blocked{}, err
	}
	if a.For <= 0 {
		return counters.Blocked{}, checks.BadArgument("want a duration over 0")
	}
	return counters.Block(ctx, d.store, client, time.Now(), a.For, a.Why)
}

// removeBlock returns an error if the client was not blocked.
func (d *daemon) removeBlock(ctx context.Context, a blockArgs) (bool, error) {
	removed, err := d.unblock(ctx, a.Client)
	if err == nil && !removed {
		err = fmt.Errorf("%s was not blocked", a.Client)
	}
	return removed, err
}

// unblock removes the block of a client and reports whether there was one.
func (d *daemon) unblock(ctx context.Context, client string) (bool, error) {
	p, err := parseClient(client)
	if err != nil {
		return false, err
	}
	return counters.Unblock(ctx, d.store, p, time.Now())
}

// parseClient parses an address or a network.
func parseClient(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return counters.ClientOf(a), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, checks.BadArgument("%q is no address and no network", text)
	}
	return p, nil
}

func showBlocks(w io.Writer, list []counters.Blocked) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no blocks")
		return
	}
	fmt.Fprintln(w, "CLIENT\tSINCE\tUNTIL\tTIMES\tIN FORCE\tWHY")
	for _, b := range list {
		times := fmt.Sprint(b.Level)
		if b.Level == 0 {
			times = "by hand"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", b.Client, formatTime(b.Since), formatTime(b.Until), times, yesOrNo(b.InForce), b.Why)
	}
}
