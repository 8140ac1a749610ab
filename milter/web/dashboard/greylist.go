package dashboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"milterd/milter/web"
)

const (
	// rowsOfLists is how many entries a list shows.
	rowsOfLists = 100
	// lookAtEntries is how many entries are looked at for that: a store may have millions, without order.
	lookAtEntries = 50_000
)

// greylistPage is what greylisting knows.
type greylistPage struct {
	What     string
	States   []chartTotal
	Triplets []Triplet // the last ones first
	Clients  []Client  // likewise
	Found    int       // triplets
	Known    int       // clients
	Partly   bool      // there may be more
	Allow    string    // what the form for it said
}

func (x *dashboard) greylist(w http.ResponseWriter, r *http.Request) {
	x.showGreylist(w, r, x.notes.get(r.URL.Query().Get("note")), http.StatusOK)
}

func (x *dashboard) showGreylist(w http.ResponseWriter, r *http.Request, n *note, code int) {
	f := x.frame("greylist", "Greylist")
	f.Note, f.live = n, r.Method != http.MethodPost
	page := greylistPage{What: field(r.URL.Query(), "what"), Allow: field(r.PostForm, "client")}
	err := x.read(r, func(ctx context.Context) (err error) {
		if page.Triplets, err = collect(x.Operator.Triplets(ctx, page.What)); err == nil {
			page.Clients, err = collect(x.Operator.Clients(ctx, page.What))
		}
		return err
	})
	page.Found, page.Known = len(page.Triplets), len(page.Clients)
	page.Partly = max(page.Found, page.Known) >= lookAtEntries
	page.States = statesOf(page.Triplets)
	slices.SortStableFunc(page.Triplets, func(a, b Triplet) int {
		return cmp.Or(b.Last.Compare(a.Last), strings.Compare(a.Identity+a.From+a.To, b.Identity+b.From+b.To))
	})
	slices.SortStableFunc(page.Clients, func(a, b Client) int {
		return cmp.Or(b.Used.Compare(a.Used), strings.Compare(a.Identity, b.Identity))
	})
	page.Triplets, page.Clients = page.Triplets[:min(page.Found, rowsOfLists)], page.Clients[:min(page.Known, rowsOfLists)]
	x.write(w, max(code, x.failed(&f, err)), &f, page)
}

// collect takes as many entries as are looked at. With an error it returns what came before.
func collect[T any](entries iter.Seq2[T, error]) (list []T, err error) {
	for v, err := range entries {
		if err != nil {
			return list, err
		}
		if list = append(list, v); len(list) >= lookAtEntries {
			break
		}
	}
	return list, nil
}

func statesOf(list []Triplet) []chartTotal {
	n := map[string]int{}
	for _, t := range list {
		n[t.State]++
	}
	return []chartTotal{
		{"waiting", "Waiting", "nobody came back in time yet, and the window is open", grouped(n["waiting"])},
		{"passed", "Passed", "a message came through", grouped(n["passed"])},
		{"gone", "Gone", "nobody came back in time; kept for 7 days", grouped(n["gone"])},
	}
}

// errNothing is about a form that was sent empty.
var errNothing = errors.New("no client was given")

func (x *dashboard) changeGreylist(w http.ResponseWriter, r *http.Request) {
	v := form(w, r)
	client := field(v, "client")
	x.change(w, r, "greylist?"+url.Values{"what": {field(r.URL.Query(), "what")}}.Encode(), func(ctx context.Context) (string, error) {
		shown := web.Shown(client)
		switch {
		case client == "":
			return "", errNothing
		case v.Get("do") == "allow":
			return shown + " is let in at once from now on.", x.Operator.Allow(ctx, client)
		case v.Get("do") == "forget":
			n, err := x.Operator.Forget(ctx, client)
			if n == 1 {
				return "One entry of " + shown + " is forgotten.", err
			}
			return fmt.Sprintf("%d entries of %s are forgotten.", n, shown), err
		}
		return "", errors.New("the form is not one of this page")
	}, x.showGreylist)
}

// blocksPage is the clients under a block.
type blocksPage struct {
	What        string
	Blocks      []Block // those that are free first at the beginning
	Found, All  int
	Lengths     []choice
	Client, Why string // what the form to add one said
}

// lengthChoices are for how long a client can be blocked.
var lengthChoices = []choice{
	{Value: "1h", Title: "1 hour"}, {Value: "4h", Title: "4 hours"}, {Value: "24h", Title: "1 day"}, {Value: "7d", Title: "7 days"}, {Value: "30d", Title: "30 days"},
}

func (x *dashboard) blocks(w http.ResponseWriter, r *http.Request) {
	x.showBlocks(w, r, x.notes.get(r.URL.Query().Get("note")), http.StatusOK)
}

func (x *dashboard) showBlocks(w http.ResponseWriter, r *http.Request, n *note, code int) {
	f := x.frame("blocks", "Blocks")
	f.Note, f.live = n, r.Method != http.MethodPost
	page := blocksPage{
		What: field(r.URL.Query(), "what"), Client: field(r.PostForm, "client"), Why: field(r.PostForm, "why"),
		Lengths: choose(lengthChoices, cmp.Or(field(r.PostForm, "for"), "1h")),
	}
	if r.Method != http.MethodPost {
		page.Client = field(r.URL.Query(), "client") // as the page of a session fills it in
	}
	err := x.read(r, func(ctx context.Context) (err error) {
		page.Blocks, err = x.Operator.Blocks(ctx)
		return err
	})
	page.All = len(page.Blocks)
	page.Blocks = slices.DeleteFunc(page.Blocks, func(b Block) bool { return !blockFits(b, page.What) })
	page.Found = len(page.Blocks)
	page.Blocks = page.Blocks[:min(page.Found, rowsOfLists)]
	x.write(w, max(code, x.failed(&f, err)), &f, page)
}

// blockFits tells whether a block is one of those looked for: of a client in a network, or for something.
func blockFits(b Block, what string) bool {
	client, ok := network(b.Client)
	if wanted, known := network(what); ok && known {
		return wanted.Overlaps(client)
	}
	return strings.Contains(b.Client, what) || strings.Contains(strings.ToLower(b.Why), strings.ToLower(what))
}

// network reads an address or a network.
func network(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	return p, err == nil
}

func (x *dashboard) changeBlocks(w http.ResponseWriter, r *http.Request) {
	v := form(w, r)
	client := field(v, "client")
	x.change(w, r, "blocks?"+url.Values{"what": {field(r.URL.Query(), "what")}}.Encode(), func(ctx context.Context) (string, error) {
		switch {
		case client == "":
			return "", errNothing
		case v.Get("do") == "add":
			b, err := x.Operator.Block(ctx, client, field(v, "for"), field(v, "why"))
			return fmt.Sprintf("%s is blocked until %s.", b.Client, x.stamp(b.Until)), err
		case v.Get("do") == "lift":
			was, err := x.Operator.Unblock(ctx, client)
			if !was {
				return web.Shown(client) + " was not blocked any more.", err
			}
			return web.Shown(client) + " is free, and what was counted is forgotten.", err
		}
		return "", errors.New("the form is not one of this page")
	}, x.showBlocks)
}
