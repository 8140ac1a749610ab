package dashboard

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks/checktest"
)

// fakeOperator is an Operator with fixed lists. It records the changes.
type fakeOperator struct {
	triplets  []Triplet
	clients   []Client
	blocks    []Block
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

func (o *fakeOperator) Forget(_ context.Context, what string) (int, error) {
	return 2, o.change("forget", what)
}

func (o *fakeOperator) Blocks(context.Context) ([]Block, error) {
	return slices.Clone(o.blocks), o.err
}

func (o *fakeOperator) Block(_ context.Context, client, length, why string) (Block, error) {
	return Block{Client: client, Until: checktest.Now.Add(time.Hour)}, o.change("block", client, length, why)
}

func (o *fakeOperator) Unblock(_ context.Context, client, sender string) (bool, error) {
	return client != "192.0.2.99", o.change("lift", strings.TrimSpace(client+" "+sender))
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
