package dashboard

import (
	"crypto/rand"
	"sync"
)

// note is a sentence about the last change.
type note struct {
	Text string
	Bad  bool // the change failed
}

// notes passes the note of a change to the page to which the browser is redirected. The address of the page has only a random
// id, so that a link cannot put text on the page. The zero value is empty. It is safe for concurrent use.
type notes struct {
	mu   sync.Mutex
	list [16]struct{ id, text string }
	next int
}

// add stores a text and returns its id. The text is kept until 16 others were added.
func (n *notes) add(text string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	id := rand.Text()
	n.list[n.next].id, n.list[n.next].text = id, text
	n.next = (n.next + 1) % len(n.list)
	return id
}

// get returns the note with an id, or nil.
func (n *notes) get(id string) *note {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.list {
		if id != "" && e.id == id {
			return &note{Text: e.text}
		}
	}
	return nil
}
