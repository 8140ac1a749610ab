package dashboard

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"milterd/milter/records"
)

// fakeOperator is an Operator with fixed lists. It records the changes.
type fakeOperator struct {
	triplets  []Triplet
	clients   []Client
	blocks    []Block
	state     State
	changes   []string
	err       error         // of all methods
	changeErr error         // of the methods that change something
	hang      chan struct{} // if set, Triplets waits until it is closed
}

// list returns the entries, or the errors of the operator and of the context.
func list[T any](o *fakeOperator, ctx context.Context, all []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if o.err != nil {
			yield(none, o.err)
			return
		}
		for _, v := range all {
			if ctx.Err() != nil {
				yield(none, ctx.Err())
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

func (o *fakeOperator) Triplets(ctx context.Context, what string) iter.Seq2[Triplet, error] {
	if o.hang != nil {
		<-o.hang
	}
	return list(o, ctx, slices.DeleteFunc(slices.Clone(o.triplets), func(t Triplet) bool { return !strings.Contains(t.From+t.Identity, what) }))
}

func (o *fakeOperator) Clients(ctx context.Context, what string) iter.Seq2[Client, error] {
	return list(o, ctx, slices.DeleteFunc(slices.Clone(o.clients), func(c Client) bool { return !strings.Contains(c.Identity, what) }))
}

func (o *fakeOperator) change(what ...string) error {
	if err := cmp.Or(o.err, o.changeErr); err != nil {
		return err
	}
	o.changes = append(o.changes, strings.Join(what, " "))
	return nil
}

func (o *fakeOperator) Allow(_ context.Context, what string) error { return o.change("allow", what) }

func (o *fakeOperator) Forget(_ context.Context, what string, many bool) (Change, error) {
	return o.remove("forget", what, many)
}

func (o *fakeOperator) Unlist(_ context.Context, entry string, many bool) (Change, error) {
	return o.remove("remove", entry, many)
}

func (o *fakeOperator) Unblock(_ context.Context, client, sender string, many bool) (Change, error) {
	return o.remove("unblock", strings.TrimSpace(client+" "+sender), many)
}

// remove asks before it removes anything of 192.0.2.0/24.
func (o *fakeOperator) remove(command, what string, many bool) (Change, error) {
	if what == "192.0.2.0/24" && !many {
		return Change{Text: what + " is 2 records. Nothing was removed yet.", Would: 2}, o.err
	}
	return o.done(command, what)
}

// done records a change that can be undone.
func (o *fakeOperator) done(what ...string) (Change, error) {
	text := strings.Join(what, " ")
	return Change{Text: "Done: " + text + ".", Undo: func(context.Context) (string, error) {
		return "Undone: " + text + ".", o.change("undo", text)
	}}, o.change(what...)
}

func (o *fakeOperator) List(_ context.Context, list, entry, until, why string) (Change, error) {
	return o.done(list, entry, until, why)
}

func (o *fakeOperator) State(context.Context, records.Record) (State, error) { return o.state, o.err }

func (o *fakeOperator) Blocks(context.Context) ([]Block, error) {
	return slices.Clone(o.blocks), o.err
}

func (o *fakeOperator) Block(_ context.Context, client, length, why string) (Change, error) {
	return o.done("block", client, length, why)
}

// errOutage is the error of a store that is down.
var errOutage = errors.New("no route to the store")

// wantChanges compares the changes since its last call.
func (o *fakeOperator) wantChanges(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(o.changes, want) {
		t.Errorf("changes: %q, want %q", o.changes, want)
	}
	o.changes = nil
}
