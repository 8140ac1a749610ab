package main

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/checks/access"
	"milterd/checks/counters"
	"milterd/checks/greylist"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/records"
	"milterd/milter/web/dashboard"
)

// operator implements dashboard.Operator. It calls the functions of the commands access, block
// and greylist, logs each change, and can undo it.
type operator struct{ *daemon }

// Triplets implements dashboard.Operator.
func (o operator) Triplets(ctx context.Context, what string) iter.Seq2[dashboard.Triplet, error] {
	return func(yield func(dashboard.Triplet, error) bool) {
		for t, err := range greylist.List(ctx, o.store, time.Now(), what) {
			if !yield(dashboard.Triplet{
				Identity:  t.Identity,
				From:      t.From,
				To:        t.To,
				Client:    t.Client,
				Suspicion: t.Suspicion,
				State:     string(t.State),
				Attempts:  t.Attempts,
				First:     t.First,
				Last:      t.Last,
				Until:     t.Until,
			}, err) {
				return
			}
		}
	}
}

// Clients implements dashboard.Operator.
func (o operator) Clients(ctx context.Context, what string) iter.Seq2[dashboard.Client, error] {
	return func(yield func(dashboard.Client, error) bool) {
		for c, err := range greylist.Clients(ctx, o.store, what) {
			if !yield(dashboard.Client{Identity: c.Identity, Passes: c.Passes, Used: c.Used, Client: c.Client, Allowed: c.Allowed}, err) {
				return
			}
		}
	}
}

// Allow implements dashboard.Operator.
func (o operator) Allow(ctx context.Context, what string) error {
	c, err := greylist.Allow(ctx, o.store, time.Now(), what)
	if err == nil {
		o.logChange("greylist allow", c.Identity, nil)
	}
	return err
}

// State implements dashboard.Operator.
func (o operator) State(ctx context.Context, r records.Record) (dashboard.State, error) {
	now, err := o.stateOf(ctx, subjectsOf(r))
	st := dashboard.State{Greylisted: now.Greylisted, Domain: now.Domain, Good: now.Good}
	for _, e := range now.Lists {
		st.Lists = append(st.Lists, dashboard.ListEntry{List: e.List, Entry: e.Entry, Until: e.Until, Why: e.Why, File: e.File, Line: e.Line})
	}
	for _, b := range now.blocks() {
		st.Blocks = append(st.Blocks, blockOf(b))
	}
	for _, c := range now.Rates {
		st.Rates = append(st.Rates, dashboard.Rate{Text: c.String(), Until: c.Until, Key: c.Key()})
	}
	return st, err
}

// List implements dashboard.Operator.
func (o operator) List(ctx context.Context, list, entry, until, why string) (dashboard.Change, error) {
	args := accessArgs{List: list, Entry: entry, Why: why}
	var err error
	if until != "" {
		if args.Until, err = parseEnd(until, time.Now()); err != nil {
			return dashboard.Change{}, fmt.Errorf("end of the entry: %w", err)
		}
	}
	before, err := o.ownEntry(ctx, list, entry)
	if err != nil {
		return dashboard.Change{}, err
	}
	added, err := o.addAccess(ctx, args)
	if err != nil {
		return dashboard.Change{}, err
	}
	o.logChange("access "+list, added.Entry.Entry, logrus.Fields{"until": formatTime(added.Until), "why": added.Why})
	text := fmt.Sprintf("%s is on the %s list%s.", added.Entry.Entry, list, untilOf(added.Until))
	for _, note := range added.Notes {
		text += " Note: " + note + "."
	}
	return dashboard.Change{Text: text, Undo: o.undo("access "+list, func(ctx context.Context) (string, error) {
		if before != nil {
			return "The previous entry is on the list again.", o.relist(ctx, []access.Entry{*before})
		}
		return fmt.Sprintf("%s is not on the %s list any more.", added.Entry.Entry, list), access.Remove(ctx, o.store, time.Now(), []access.Entry{added.Entry})
	})}, nil
}

// ownEntry returns the entry of the store that has this subject, or nil.
func (o operator) ownEntry(ctx context.Context, list, entry string) (*access.Entry, error) {
	same, err := access.Select(ctx, o.store, time.Now(), entry)
	want, errParse := access.Parse(entry, false)
	for _, e := range same {
		if errParse == nil && e.List == list && e.Entry == want.Entry {
			return &e, err
		}
	}
	return nil, err
}

// Unlist implements dashboard.Operator.
func (o operator) Unlist(ctx context.Context, entry string, many bool) (dashboard.Change, error) {
	done, err := o.removeAccess(ctx, removeArgs{What: entry, Many: many})
	return o.removed(done, err, "access remove", entry, "entries")
}

// Forget implements dashboard.Operator.
func (o operator) Forget(ctx context.Context, what string, many bool) (dashboard.Change, error) {
	done, err := o.forgetGreylist(ctx, removeArgs{What: what, Many: many})
	return o.removed(done, err, "greylist forget", what, "greylist records")
}

// Unblock implements dashboard.Operator.
func (o operator) Unblock(ctx context.Context, client, sender string, many bool) (dashboard.Change, error) {
	done, err := o.removeBlock(ctx, removeArgs{What: client, Sender: sender, Many: many})
	return o.removed(done, err, "block remove", client, "blocks")
}

// maxUndo is the number of records that can be restored; they are held in memory. With twice as much, 16 removals hold some 10 MB.
const maxUndo = 10_000

// removed returns the change of a command that removes something of a kind, which is the noun in the plural.
func (o operator) removed(done removal, err error, command, what, kind string) (dashboard.Change, error) {
	switch {
	case err != nil:
		return dashboard.Change{}, err
	case done.Would > 0:
		return dashboard.Change{Would: done.Would, Text: fmt.Sprintf("%s is %d %s. Nothing was removed yet.", printableName(what), done.Would, kind)}, nil
	}
	o.logChange(command, what, logrus.Fields{"entries": done.Removed})
	change := dashboard.Change{Text: fmt.Sprintf("%s: %d %s removed.", printableName(what), done.Removed, plural(done.Removed, kind))}
	if done.Removed <= maxUndo {
		change.Undo = o.undo(command, func(ctx context.Context) (string, error) {
			return fmt.Sprintf("%s: %d %s restored.", printableName(what), done.Removed, plural(done.Removed, kind)), done.restore(ctx)
		})
	}
	return change, nil
}

// undo returns f with a line in the log.
func (o operator) undo(command string, f func(context.Context) (string, error)) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		text, err := f(ctx)
		if err == nil {
			o.log.Info("undone on the operator's pages: " + command)
		}
		return text, err
	}
}

// Blocks implements dashboard.Operator.
func (o operator) Blocks(ctx context.Context) ([]dashboard.Block, error) {
	list, err := counters.Blocks(ctx, o.store, time.Now())
	blocks := make([]dashboard.Block, len(list))
	for i, b := range list {
		blocks[i] = blockOf(b)
	}
	return blocks, err
}

// Block implements dashboard.Operator.
func (o operator) Block(ctx context.Context, client, length, why string) (dashboard.Change, error) {
	d, err := config.ParseDuration(length)
	if err != nil {
		return dashboard.Change{}, fmt.Errorf("duration of the block: %w", err)
	}
	before, err := counters.Blocks(ctx, o.store, time.Now())
	if err != nil {
		return dashboard.Change{}, err
	}
	b, err := o.addBlock(ctx, blockArgs{Client: client, For: d, Why: why})
	if err != nil {
		return dashboard.Change{}, err
	}
	shown := checks.FormatNetwork(b.Client)
	o.logChange("block add", shown, logrus.Fields{"until": b.Until.Format(time.RFC3339), "why": b.Why})
	return dashboard.Change{Text: fmt.Sprintf("%s is blocked%s.", shown, untilOf(b.Until)), Undo: o.undo("block add", func(ctx context.Context) (string, error) {
		if i := slices.IndexFunc(before, func(old counters.Blocked) bool { return old.Client == b.Client && old.Sender == "" }); i >= 0 {
			return fmt.Sprintf("%s is blocked%s as before.", shown, untilOf(before[i].Until)), counters.Restore(ctx, o.store, before[i], time.Now())
		}
		_, err := counters.Unblock(ctx, o.store, b.Client, "", time.Now())
		return shown + " is not blocked any more.", err
	})}, nil
}

func (o operator) logChange(command, client string, more logrus.Fields) {
	o.log.WithField("client", client).WithFields(more).Info("changed on the operator's pages: " + command)
}

func blockOf(b counters.Blocked) dashboard.Block {
	return dashboard.Block{Client: checks.FormatNetwork(b.Client), Sender: b.Sender, Since: b.Since, Until: b.Until, Level: b.Level, Why: b.Why, InForce: b.InForce}
}
