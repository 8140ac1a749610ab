package dashboard

import (
	"context"
	"iter"
	"time"

	"milterd/milter/records"
)

// Operator reads and changes lists, blocks and the greylist, with the functions of the commands access, block and greylist. It is
// safe for concurrent use.
type Operator interface {
	Triplets(ctx context.Context, what string) iter.Seq2[Triplet, error]
	Clients(ctx context.Context, what string) iter.Seq2[Client, error]
	Blocks(ctx context.Context) ([]Block, error)
	// State returns what is in force now for the client and the sender of a decision. With an error it may be incomplete.
	State(ctx context.Context, r records.Record) (State, error)

	// Allow exempts a client from greylisting.
	Allow(ctx context.Context, what string) error
	// List adds an entry to the list deny or allow. until is as for the command access; empty: no end.
	List(ctx context.Context, list, entry, until, why string) (Change, error)
	Block(ctx context.Context, client, length, why string) (Change, error)
	// Unlist, Unblock and Forget remove entries of lists, blocks, and records of the greylist. Unless many is set, they remove at
	// most one. Unblock with a sender removes only the block of that domain's mail.
	Unlist(ctx context.Context, entry string, many bool) (Change, error)
	Unblock(ctx context.Context, client, sender string, many bool) (Change, error)
	Forget(ctx context.Context, what string, many bool) (Change, error)
}

// Change is what a change did.
type Change struct {
	Text  string // a sentence
	Would int    // entries that would be removed; over 0: none was removed yet
	Undo  func(context.Context) (string, error)
}

// State is what is in force for the client and the sender of a decision.
type State struct {
	Lists      []ListEntry // that cover the client, the sender or the HELO name
	Blocks     []Block     // of the client; several for a good sender
	Greylisted int         // records of the client in the greylist
	Rates      []Rate      // limits that are used up in part
	Domain     string      // organisational domain of the sender; may be empty
	Good       bool        // the domain is a good sender
}

// ListEntry is an entry of a deny or an allow list.
type ListEntry struct {
	List, Entry, Why string
	Until            time.Time // zero: no end
	File             string    // empty: the entry is in the store, so it can be removed
	Line             int
}

// Rate is how far a limit is used up.
type Rate struct {
	Text  string // a clause
	Until time.Time
	Key   string // of the configuration that has the limit
}

// Triplet is the greylisting state of a client, a reverse-path and a recipient. Times of events that did not happen are zero.
type Triplet struct {
	Identity, From, To, Client, Suspicion, State string
	Attempts                                     int
	First, Last, Until                           time.Time
}

// Client is a client that passed greylisting, or that the operator allowed.
type Client struct {
	Identity string
	Passes   int
	Used     time.Time // zero: never
	Client   string    // address that sent the last message; empty if there was none
	Allowed  bool
}

// Block is a client under a temporary block.
type Block struct {
	Client       string
	Sender       string // only mail of this domain is blocked; empty: all mail
	Since, Until time.Time
	Level        int // 1 is the client's first block; 0: the operator blocked it
	Why          string
	InForce      bool // the block refused something already
}
