package dashboard

import (
	"crypto/rand"
	"sync"
)

// note is what a page says of the change before it.
type note struct {
	Text string
	Bad  bool
}

// notes hands what was said from the answer to a form to the page that comes after it. Only the daemon makes them: a link cannot
// put words on a page. The zero value has none. It is safe for concurrent use.
type notes struct {
	mu   sync.Mutex
	list [16]struct{ id, text string }
	next int
}

// add returns the id under which the text is found, until some others have come.
func (n *notes) add(text string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	id := rand.Text()
	n.list[n.next].id, n.list[n.next].text = id, text
	n.next = (n.next + 1) % len(n.list)
	return id
}

// get finds a note; nil if there is none.
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
