package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/checks/greylist"
)

const (
	// maxListed is the default maximum of listed triplets.
	maxListed = 1000
	// maxTriplets is the number of triplets above which a list is an error. They are in memory, in the daemon and in the command, and
	// take some 500 bytes each in both. A busy site has millions.
	maxTriplets = 100_000
)

func newGreylist(configFile *string) *cobra.Command {
	cmd := newGroup("greylist", "Show and change the records of greylisting")
	r := newRemote(cmd, configFile)
	cmd.AddCommand(newGreylistList(r), &cobra.Command{
		Use:   "show WHAT",
		Short: "Show the triplets and clients of an address, network, domain or mailbox",
		Args:  oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			return call(cmd, r, "greylist/show", greylistArgs{What: args[0]}, showSelection)
		},
	}, &cobra.Command{
		Use:   "allow CLIENT",
		Short: "Let a client pass without delay",
		Long: `Let a client pass without delay, until it is forgotten. CLIENT is an address, its network (/24 or /64), the organisational
domain of its confirmed name, or a domain for which it passes SPF.`,
		Args: oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			return call(cmd, r, "greylist/allow", greylistArgs{What: args[0]}, showAllowed)
		},
	}, newRemove(r, remover{
		use: "forget WHAT", short: "Delete the triplets and clients of an address, network, domain or mailbox",
		function: "greylist/forget", kind: "records",
	}))
	return cmd
}

func newGreylistList(r *remote) *cobra.Command {
	list := greylistArgs{}
	cmd := &cobra.Command{
		Use:   "list [WHAT]",
		Short: "List the triplets, all or those of an address, network, domain or mailbox",
		Args:  atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				list.What = args[0]
			}
			if list.Max < 0 {
				return errNegativeMax
			}
			return call(cmd, r, "greylist/list", list, showTriplets)
		},
	}
	cmd.Flags().IntVar(&list.Max, "max", maxListed, "list at most `N` triplets; 0: all, up to "+strconv.Itoa(maxTriplets))
	return cmd
}

// greylistArgs are the arguments of the greylist functions. Only greylist/list uses Max.
type greylistArgs struct {
	What string `json:"what"` // see greylist.List
	Max  int    `json:"max"`  // 0: maxTriplets, and more are an error
}

func (d *daemon) listTriplets(ctx context.Context, a greylistArgs) ([]greylist.Triplet, error) {
	return boundedList(greylist.List(ctx, d.store, time.Now(), a.What), a.Max)
}

// boundedList returns at most the first most triplets of a sequence, see greylistArgs.Max.
func boundedList(all iter.Seq2[greylist.Triplet, error], most int) ([]greylist.Triplet, error) {
	list := []greylist.Triplet{}
	for t, err := range all {
		if err != nil {
			return nil, err
		}
		if len(list) == maxTriplets {
			return nil, checks.BadArgument("there are more than %d triplets; name an address, network, domain or mailbox, or a smaller --max", maxTriplets)
		}
		list = append(list, t)
		if most > 0 && len(list) >= most {
			break
		}
	}
	return list, nil
}

func (d *daemon) showGreylist(ctx context.Context, a greylistArgs) (greylist.Selection, error) {
	if strings.TrimSpace(a.What) == "" {
		return greylist.Selection{}, checks.BadArgument("nothing is selected; want an address, network, domain or mailbox")
	}
	s, err := greylist.Show(ctx, d.store, time.Now(), a.What)
	if err == nil && len(s.Triplets)+len(s.Clients) == 0 {
		err = fmt.Errorf("greylisting knows nothing of %s", a.What)
	}
	return s, err
}

func (d *daemon) allowClient(ctx context.Context, a greylistArgs) (greylist.Client, error) {
	return greylist.Allow(ctx, d.store, time.Now(), a.What)
}

// forgetGreylist returns an error if there is nothing to forget.
func (d *daemon) forgetGreylist(ctx context.Context, a removeArgs) (removal, error) {
	s, err := d.showGreylist(ctx, greylistArgs{What: a.What})
	if err != nil {
		return removal{}, err
	}
	if n := len(s.Triplets) + len(s.Clients); a.tooMany(n) {
		return removal{Would: n}, nil
	}
	forgotten, err := s.Forget(ctx, d.store)
	restore := func(ctx context.Context) error { return forgotten.Restore(ctx, d.store, time.Now()) }
	return removal{Removed: len(forgotten), restore: restore}, err
}

func showSelection(w io.Writer, s greylist.Selection) {
	showTriplets(w, s.Triplets)
	showClients(w, s.Clients)
}

func showAllowed(w io.Writer, c greylist.Client) {
	showClients(w, []greylist.Client{c})
	if c.Note != "" {
		fmt.Fprintln(w, "Note:", c.Note+".")
	}
}

func showTriplets(w io.Writer, list []greylist.Triplet) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no triplets")
		return
	}
	fmt.Fprintln(w, "STATE\tCLIENT\tADDRESS\tFROM\tTO\tATTEMPTS\tFIRST\tLAST\tPASSED\tSUSPICION")
	for _, t := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t<%s>\t<%s>\t%d\t%s\t%s\t%s\t%s\n",
			t.State, t.Identity, t.Client, printableLine(t.From), printableLine(t.To), t.Attempts, formatTime(t.First), formatTime(t.Last), formatTime(t.Passed), cmp.Or(t.Suspicion, "-"))
	}
}

func showClients(w io.Writer, list []greylist.Client) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(w, "CLIENT\tADDRESS\tPASSES\tLAST USED\tALLOWED BY HAND")
	for _, c := range list {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", c.Identity, c.Client, c.Passes, formatTime(c.Used), yesOrNo(c.Allowed))
	}
}
