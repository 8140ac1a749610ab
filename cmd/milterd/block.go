package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/checks/counters"
)

func newBlock(configFile *string) *cobra.Command {
	cmd := newGroup("block", "List, add and remove temporary blocks of clients")
	r := newRemote(cmd, configFile)
	list := newQuery(r, "list", "List the clients that are blocked now (report daily has those of the last 24 hours)", "block/list", noArgs{}, showBlocks)
	cmd.AddCommand(newBlockAdd(r), list, newRemove(r, remover{
		use: "remove CLIENT|NETWORK", short: "Remove the blocks of a client and reset its counts; for a network, also the blocks in it",
		long: `Remove the blocks of a client and reset its counts; for a network, also the blocks in it. A client that is a good sender may have
several: each is for the mail from one domain.`,
		function: "block/remove", kind: "blocks",
	}))
	return cmd
}

// defaultBlock is the length of a block by hand.
const defaultBlock = time.Hour

func newBlockAdd(r *remote) *cobra.Command {
	var block blockArgs
	var end endFlags
	cmd := &cobra.Command{
		Use:   "add CLIENT|NETWORK",
		Short: "Block a client or a network for a time",
		Long: `Block a client for a time: an IPv4 address, the /64 network of an IPv6 address, or a wider network (an IPv4 /8 or longer, an IPv6 /32
or longer). A trusted network and this host cannot be blocked.`,
		Args: oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			now := time.Now()
			until, err := end.time(now, defaultBlock)
			if err != nil {
				return err
			}
			block.Client, block.For = args[0], until.Sub(now)
			return call(cmd, r, "block/add", block, func(w io.Writer, b counters.Blocked) {
				showBlocks(w, []counters.Blocked{b})
			})
		},
	}
	end.add(cmd, "the block", "1h; at most 366d")
	cmd.Flags().StringVar(&block.Why, "why", "", "`REASON` of the block; the reply says \"is blocked until TIME for REASON\"")
	return cmd
}

// blockArgs are the arguments of the function block/add.
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
	if err = cmp.Or(err, wholeNetwork(a.Client), checkWhy(a.Why)); err != nil {
		return counters.Blocked{}, err
	}
	if a.For <= 0 {
		return counters.Blocked{}, checks.BadArgument("want a duration over 0")
	}
	if err := d.checkRefusable(a.Client, client); err != nil {
		return counters.Blocked{}, err
	}
	return counters.Block(ctx, d.store, client, time.Now(), a.For, a.Why)
}

// removeBlock removes the blocks of a client, or those in a network. It returns an error if there is none.
func (d *daemon) removeBlock(ctx context.Context, a removeArgs) (removal, error) {
	network, err := parseClient(a.What)
	if err != nil {
		return removal{}, err
	}
	list, err := counters.Blocks(ctx, d.store, time.Now())
	if err != nil {
		return removal{}, err
	}
	list = slices.DeleteFunc(list, func(b counters.Blocked) bool {
		return network.Bits() > b.Client.Bits() || !network.Contains(b.Client.Addr()) || a.Sender != "" && a.Sender != b.Sender
	})
	if len(list) == 0 {
		return removal{}, fmt.Errorf("%s was not blocked", a.What)
	}
	if a.tooMany(len(list)) {
		return removal{Would: len(list)}, nil
	}
	for i, b := range list {
		if _, err := counters.Unblock(ctx, d.store, b.Client, b.Sender, time.Now()); err != nil {
			return removal{Removed: i}, err
		}
	}
	return removal{Removed: len(list), restore: func(ctx context.Context) error {
		for _, b := range list {
			if err := counters.Restore(ctx, d.store, b, time.Now()); err != nil {
				return err
			}
		}
		return nil
	}}, nil
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
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", checks.FormatNetwork(b.Client), formatTime(b.Since), formatTime(b.Until), times, yesOrNo(b.InForce), b.Why)
	}
}
