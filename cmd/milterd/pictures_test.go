package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/cmd/milterd/internal/session"
	"milterd/headers"
	"milterd/milter/log"
	"milterd/milter/miltertest"
	"milterd/milter/records"
	"milterd/milter/resolver/dnstest"
	"milterd/milter/store"
	"milterd/milter/web/webtest"
)

// pictures are the pictures of the documents, in examples.
var pictures = []string{"operator.png", "sender.png"}

// maxPicture is the size of the largest picture, in bytes.
const maxPicture = 100_000

// TestPictures tests that the pictures exist, are small, and are in the documents.
func TestPictures(t *testing.T) {
	t.Parallel()
	readme := readFile(t, root+"/README.md")
	for _, name := range pictures {
		text := readFile(t, root+"/examples/"+name)
		if _, err := png.DecodeConfig(strings.NewReader(text)); err != nil || len(text) > maxPicture {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
		if !strings.Contains(readme, "](examples/"+name+")") {
			t.Errorf("the README does not show %s", name)
		}
	}
}

// TestTakePictures opens the operator's overview and the page of a refusal in a browser. With -update, it takes the pictures.
func TestTakePictures(t *testing.T) {
	webtest.Require(t)
	t.Parallel()
	site := newPicturedSite(t)
	tab := webtest.Start(t).Tab(t)
	const width = 1000 // CSS pixels
	tab.Look(webtest.Look{Name: "picture", Width: width})
	take := func(name string, code, rows int) {
		t.Helper()
		if code != 200 {
			t.Fatalf("%s: status %d", name, code)
		}
		if *update {
			writeFile(t, root+"/examples/"+name, string(reduce(t, tab.Picture(), rows)))
		}
	}
	take("operator.png", tab.Open("http://"+site.admin+"/?period=day"), 825)
	tab.Open(strings.Replace(site.link, "https://mx.example.org", "http://"+site.explain, 1))
	take("sender.png", tab.Click("button"), 955) // "Test again"
}

// reduce makes a picture smaller: so many rows of pixels, and a palette of the most frequent colours.
func reduce(t *testing.T, picture []byte, rows int) []byte {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	bounds := full.Bounds()
	bounds.Max.Y = min(bounds.Max.Y, bounds.Min.Y+rows)
	count := map[color.RGBA]int{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)]++
		}
	}
	var colours []color.RGBA
	for c := range count {
		colours = append(colours, c)
	}
	slices.SortFunc(colours, func(a, b color.RGBA) int { return count[b] - count[a] })
	const mostColours = 64
	var palette color.Palette
	for _, c := range colours[:min(mostColours, len(colours))] {
		palette = append(palette, c)
	}
	small := image.NewPaletted(bounds, palette)
	draw.Draw(small, bounds, full, bounds.Min, draw.Src)
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, small); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// picturedSite is a daemon with a day of decisions.
type picturedSite struct {
	admin, explain string // addresses of the pages
	link           string // of a refusal
}

// newPicturedSite writes the decisions of a day to a store, starts a daemon on it, and has it refuse one more mail.
func newPicturedSite(t *testing.T) *picturedSite {
	t.Helper()
	dir := daemontest.SocketDir(t)
	ports := freePorts(t, 3)
	site := &picturedSite{admin: fmt.Sprintf("127.0.0.1:%d", ports[1]), explain: fmt.Sprintf("127.0.0.1:%d", ports[2])}
	text := fmt.Sprintf(`listen: inet:%d@127.0.0.1
hostname: mx.example.org
local_domains: [example.org]
actions: {rdns-missing: reject}
dns: {servers: [%q]}
admin: {listen: %q, socket: %s/admin.sock}
explain: {listen: %q, url: "https://mx.example.org", key: %s/explain.key}
store: {driver: embedded, path: %s/store}
log: {syslog: "off"}
`, ports[0], dnstest.Start(t, picturedZone).Addr, site.admin, dir, site.explain, dir, dir)
	writeFile(t, filepath.Join(dir, "milterd.yaml"), text)
	writeDay(t, filepath.Join(dir, "store"), text)

	d := serveProgram(t, filepath.Join(dir, "milterd.yaml"))
	miltertest.Eventually(t, "the daemon is ready and refuses a mail", func() bool {
		_, out, _ := runLine(t, "simulate", "--milter", fmt.Sprintf("inet:%d@127.0.0.1", ports[0]), "--client", "192.0.2.10",
			"--helo", "mail.example.com", "--from", "dave@example.com", "--rcpt", "bob@example.org")
		_, after, found := strings.Cut(out, "https://mx.example.org/")
		site.link = "https://mx.example.org/" + strings.SplitN(after, "\n", 2)[0]
		if d.Ended() {
			t.Fatalf("the daemon ended: %s", d.Output())
		}
		return found
	})
	return site
}

// picturedZone is the DNS of the pictured site. Clients are in 192.0.2.0/24: up to .99 without a reverse DNS name, then of a pool of
// dynamic addresses, from .200 on well-run mail servers.
const picturedZone = docsZone + `
example.edu.        MX  10 mx.example.net.
example.edu.        TXT "v=spf1 ip4:192.0.2.0/24 -all"
forged.example.com. MX  10 mx.example.net.
forged.example.com. TXT "v=spf1 ip4:198.51.100.0/24 -all"
201.2.0.192.in-addr.arpa. PTR mail.example.edu.
mail.example.edu.   A   192.0.2.201
100.2.0.192.in-addr.arpa. PTR dyn-192-0-2-100.pool.example.com.
dyn-192-0-2-100.pool.example.com. A 192.0.2.100
`

// writeDay has a pipeline judge sessions of the last 24 hours, and writes the decisions to a store.
func writeDay(t *testing.T, folder, configText string) {
	t.Helper()
	cfg := parseConfig(t, configText)
	kept, err := store.Open(store.Config{Driver: "embedded", Path: folder, Log: log.Discard()})
	if err != nil {
		t.Fatal(err)
	}
	book := records.Open(kept, records.Options{Keep: cfg.Records.Keep, Max: cfg.Records.Max, Log: log.Discard()})
	player := &recorded{book: book}
	player.InProcess.Now = time.Now
	player.Decided = func(r *checks.Request, d checks.Decision) {
		player.last = r
		book.Decided(r, d)
	}
	env := checks.Env{DNS: checktest.NewZone(t, picturedZone), Store: checktest.NewStore(player.Clock), Log: log.Discard()}
	player.InProcess.Pipeline, err = newPipeline(cfg, env, func(o *checks.Options) { o.Trace = checks.TraceMatched })
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for at := time.Now().Add(-24 * time.Hour); at.Before(time.Now()); at = at.Add(time.Duration(30+random.IntN(150)) * time.Second) {
		player.Time(at)
		kind := random.IntN(3 * len(visits))
		if kind >= len(visits) {
			kind %= 2 // good mail
		}
		script := visits[kind](random, at.Format(time.RFC1123Z))
		if _, err := session.Play(script, player, nil); err != nil {
			t.Fatal(err)
		}
	}
	book.Close(time.Minute)
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}
}

// recorded is a Player that records accepted messages.
type recorded struct {
	session.InProcess
	book *records.Log
	last *checks.Request // of the last decision
}

// Message implements session.Player.
func (p *recorded) Message(header []headers.Field, body string) ([]string, error) {
	reply, err := p.InProcess.Message(header, body)
	if reply == nil {
		p.book.Accepted(p.last)
	}
	return reply, err
}

// visits make sessions of different kinds. The first ones, of good mail, are chosen more often.
var visits = []func(*rand.Rand, string) *session.Script{
	func(_ *rand.Rand, date string) *session.Script {
		return visit("192.0.2.201", "mail.example.edu", "news@example.edu", date)
	},
	func(_ *rand.Rand, date string) *session.Script {
		return visit("192.0.2.9", "mail.example.net", "alice@example.net", date)
	},
	func(r *rand.Rand, date string) *session.Script {
		return visit(fmt.Sprintf("192.0.2.%d", 10+r.IntN(80)), "192.0.2.1", "bank@forged.example.com", date)
	},
	func(r *rand.Rand, date string) *session.Script {
		return visit(fmt.Sprintf("192.0.2.%d", 10+r.IntN(80)), "server", "bank@forged.example.com", date)
	},
	func(r *rand.Rand, date string) *session.Script {
		return visit("192.0.2.100", "dyn-192-0-2-100.pool.example.com", fmt.Sprintf("win%d@forged.example.com", r.IntN(1000)), date)
	},
	func(*rand.Rand, string) *session.Script {
		return visit("192.0.2.9", "mail.example.net", "alice@forged.example.com", "yesterday")
	},
	func(_ *rand.Rand, date string) *session.Script {
		return visit("192.0.2.201", "other.example.edu", "list@example.edu", date)
	},
}

// visit is a session with one message.
func visit(client, helo, from, date string) *session.Script {
	s := &session.Script{Name: "visit", Steps: []session.Step{{Client: session.Client{Addr: netip.MustParseAddr(client)}}}}
	for _, line := range []string{
		"EHLO " + helo, "MAIL FROM:<" + from + ">", "RCPT TO:<bob@example.org>", "DATA", "Date: " + date, "From: " + from, "Message-ID: <1@example.net>", ".", "QUIT",
	} {
		s.Steps = append(s.Steps, session.Step{Say: line, Said: true})
	}
	return s
}
