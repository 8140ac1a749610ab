package dashboard

import (
	"cmp"
	"context"
	"iter"
	"net/http"
	"slices"
	"strings"

	"milterd/milter/web"
)

const (
	// maxEntries is the number of entries that the lists of the greylist and of blocks show.
	maxEntries = 100
	// maxEntriesRead is the number of entries of the greylist that are read to find the latest ones. The store has no order by time
	// and may have millions. With half of it, the page shows fewer of the latest; with twice as much, it reaches readTimeout
	// on a slow store.
	maxEntriesRead = 50_000
)

// greylistPage is the body of the page of the greylist.
type greylistPage struct {
	What     string // search text
	States   []total
	Triplets []Triplet // the latest first
	Clients  []Client  // the latest first
	Found    int       // number of triplets that match
	Known    int       // number of clients that match
	Limit    int       // maxEntriesRead if it was reached, else 0
	Allow    string    // content of the form that allows a client
}

func (p *pages) showGreylist(w http.ResponseWriter, r *http.Request, n *note, code int) {
	f := p.frame("greylist", "Greylist")
	f.Note, f.live = n, r.Method != http.MethodPost
	page := greylistPage{What: field(r.URL.Query(), "what"), Allow: field(r.PostForm, "client")}
	err := p.read(r, readTimeout, func(ctx context.Context) (err error) {
		if page.Triplets, err = readEntries(p.Operator.Triplets(ctx, page.What)); err == nil {
			page.Clients, err = readEntries(p.Operator.Clients(ctx, page.What))
		}
		return err
	})
	page.Found, page.Known, page.States = len(page.Triplets), len(page.Clients), countStates(page.Triplets)
	if max(page.Found, page.Known) >= maxEntriesRead {
		page.Limit = maxEntriesRead
	}
	slices.SortStableFunc(page.Triplets, func(a, b Triplet) int {
		return cmp.Or(b.Last.Compare(a.Last), strings.Compare(a.Identity+a.From+a.To, b.Identity+b.From+b.To))
	})
	slices.SortStableFunc(page.Clients, func(a, b Client) int {
		return cmp.Or(b.Used.Compare(a.Used), strings.Compare(a.Identity, b.Identity))
	})
	page.Triplets, page.Clients = page.Triplets[:min(page.Found, maxEntries)], page.Clients[:min(page.Known, maxEntries)]
	p.write(w, max(code, p.setError(&f, err)), &f, page)
}

// readEntries returns at most maxEntriesRead entries. If an error occurs, it returns the entries before it too.
func readEntries[T any](entries iter.Seq2[T, error]) (list []T, err error) {
	for v, err := range entries {
		if err != nil {
			return list, err
		}
		if list = append(list, v); len(list) >= maxEntriesRead {
			break
		}
	}
	return list, nil
}

func countStates(list []Triplet) []total {
	n := map[string]int{}
	for _, t := range list {
		n[t.State]++
	}
	return []total{
		{Class: "waiting", Title: "waiting", Means: "the delivery was deferred and may still come back", Count: grouped(n["waiting"])},
		{Class: "passed", Title: "passed", Means: "a message was accepted", Count: grouped(n["passed"])},
		{Class: "gone", Title: "gone", Means: "the delivery did not come back in time; kept for 7 days", Count: grouped(n["gone"])},
	}
}

// changeGreylist carries out the forms of the page.
func (p *pages) changeGreylist(w http.ResponseWriter, r *http.Request) {
	v := form(w, r)
	client := field(v, "client")
	p.change(w, r, "greylist", func(ctx context.Context) (Change, error) {
		switch {
		case client == "":
			return Change{}, errNoClient
		case v.Get("do") == "allow":
			return Change{Text: web.Shown(client) + " is allowed: its mail is no longer greylisted."}, p.Operator.Allow(ctx, client)
		case v.Get("do") == "forget":
			return p.Operator.Forget(ctx, client, many(v))
		}
		return Change{}, errUnknownForm
	}, p.showGreylist)
}
