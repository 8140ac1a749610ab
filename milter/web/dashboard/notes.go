package dashboard

import (
	"context"
	"crypto/rand"
	"sync"
)

// note is a sentence about the last change.
type note struct {
	Text string
	Bad  bool      // the change failed
	Undo string    // id for the form that undoes the change; empty if it cannot be undone
	Ask  *question // nil: none
}

// notes passes the note of a change to the page to which the browser is redirected. The address of the page has only a random
// id, so that a link cannot put text on the page. The zero value is empty. It is safe for concurrent use.
type notes struct {
	mu   sync.Mutex
	list [16]keptNote
	next int
}

type keptNote struct {
	id, text string
	page     string // relative URL of the page of the change, with a query
	undo     func(context.Context) (string, error)
}

// add stores a text and returns its id. The text is kept until 16 others were added. undo may be nil.
func (n *notes) add(text, page string, undo func(context.Context) (string, error)) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	id := rand.Text()
	n.list[n.next] = keptNote{id: id, text: text, page: page, undo: undo}
	n.next = (n.next + 1) % len(n.list)
	return id
}

// get returns the note with an id, or nil.
func (n *notes) get(id string) *note {
	n.mu.Lock()
	defer n.mu.Unlock()
	kept := n.find(id)
	switch {
	case kept == nil:
		return nil
	case kept.undo == nil:
		return &note{Text: kept.text}
	default:
		return &note{Text: kept.text, Undo: id}
	}
}

// takeUndo returns the function that undoes the change of a note, and the page of the change. It returns nil for an unknown note and
// for one whose function was taken.
func (n *notes) takeUndo(id string) (undo func(context.Context) (string, error), page string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	kept := n.find(id)
	if kept == nil {
		return nil, ""
	}
	undo, kept.undo = kept.undo, nil
	return undo, kept.page
}

func (n *notes) find(id string) *keptNote {
	for i := range n.list {
		if id != "" && n.list[i].id == id {
			return &n.list[i]
		}
	}
	return nil
}
