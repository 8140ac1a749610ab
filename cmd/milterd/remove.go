package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// removeArgs are the arguments of functions that remove what an operator names.
type removeArgs struct {
	What   string `json:"what"`
	Sender string `json:"sender,omitempty"` // of block/remove: only the block of mail of this domain
	Many   bool   `json:"many,omitempty"`   // remove more than one
}

// tooMany reports whether n are more than may be removed without a question.
func (a removeArgs) tooMany(n int) bool { return n > 1 && !a.Many }

// removal is the result of a function that removes.
type removal struct {
	Removed int `json:"removed"`
	Would   int `json:"would,omitempty"` // more than one, so nothing was removed

	restore func(context.Context) error // undoes it, for the operator's pages
}

// remover is a command that removes what its argument names.
type remover struct {
	use, short, long string
	function         string // of the daemon
	kind             string // of what it removes, in the plural
}

func newRemove(r *remote, rm remover) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: rm.use, Short: rm.short, Long: rm.long,
		Args: oneArgument,
		RunE: func(cmd *cobra.Command, words []string) error {
			return rm.run(cmd, r, removeArgs{What: words[0], Many: yes})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask before more than one is removed")
	return cmd
}

// run has the daemon remove. Unless args.Many is set, it asks before more than one is removed.
func (rm remover) run(cmd *cobra.Command, r *remote, args removeArgs) error {
	for {
		result, text, err := ask[removal](cmd.Context(), r, rm.function, args)
		if err != nil {
			return err
		}
		if result.Would == 0 {
			return printResult(cmd, r, text, result, func(w io.Writer, got removal) { fmt.Fprintln(w, got.Removed, plural(got.Removed, rm.kind), "removed") })
		}
		selected := fmt.Sprintf("%s is %d %s", args.What, result.Would, rm.kind)
		if strings.Contains(args.What, "/") {
			selected = fmt.Sprintf("%d %s are in %s", result.Would, rm.kind, args.What)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s. Remove all of them? [y/N] ", selected)
		answer, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		if answer == "" {
			fmt.Fprintln(cmd.ErrOrStderr()) // there is no terminal that ended the line
		}
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			return errors.New("nothing was removed; --yes removes without a question")
		}
		args.Many = true
	}
}
