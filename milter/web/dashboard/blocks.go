package dashboard

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// lengthChoices are the lengths of a block that the form offers.
var lengthChoices = []choice{
	{Value: "1h", Title: "1 hour"}, {Value: "4h", Title: "4 hours"}, {Value: "24h", Title: "1 day"}, {Value: "7d", Title: "7 days"}, {Value: "30d", Title: "30 days"},
}

// blocksPage is the body of the page of blocks.
type blocksPage struct {
	What    string  // search text
	Blocks  []Block // in the order of their ends
	Found   int     // number of blocks that match
	Lengths []choice

	Client, Length, Why string // content of the form that blocks a client
}

func (p *pages) showBlocks(w http.ResponseWriter, r *http.Request, n *note, code int) {
	f := p.frame("blocks", "Blocks")
	f.Note, f.live = n, r.Method != http.MethodPost
	page := blocksPage{
		What: field(r.URL.Query(), "what"), Lengths: lengthChoices,
		Client: field(r.PostForm, "client"), Length: cmp.Or(field(r.PostForm, "for"), "1h"), Why: field(r.PostForm, "why"),
	}
	if r.Method != http.MethodPost {
		page.Client = field(r.URL.Query(), "client") // from the link on the page of a session
	}
	err := p.read(r, readTimeout, func(ctx context.Context) (err error) {
		page.Blocks, err = p.Operator.Blocks(ctx)
		return err
	})
	page.Blocks = slices.DeleteFunc(page.Blocks, func(b Block) bool { return !b.matches(page.What) })
	page.Found = len(page.Blocks)
	page.Blocks = page.Blocks[:min(page.Found, maxEntries)]
	p.write(w, max(code, p.setError(&f, err)), &f, page)
}

// matches reports whether the block is one of a network, or has a text in its client or cause.
func (b Block) matches(what string) bool {
	client, ok := parseNetwork(b.Client)
	if wanted, isNetwork := parseNetwork(what); ok && isNetwork {
		return wanted.Overlaps(client)
	}
	return strings.Contains(strings.ToLower(b.Client+"\n"+b.Why), strings.ToLower(what))
}

// parseNetwork parses an address or a network.
func parseNetwork(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	return p, err == nil
}

// changeBlocks carries out the forms of the page.
func (p *pages) changeBlocks(w http.ResponseWriter, r *http.Request) {
	v := form(w, r)
	client := field(v, "client")
	p.change(w, r, "blocks", func(ctx context.Context) (Change, error) {
		switch {
		case client == "":
			return Change{}, errNoClient
		case v.Get("do") == "add":
			return p.Operator.Block(ctx, client, field(v, "for"), field(v, "why"))
		case v.Get("do") == "remove":
			return p.Operator.Unblock(ctx, client, field(v, "sender"), many(v))
		}
		return Change{}, errUnknownForm
	}, p.showBlocks)
}
