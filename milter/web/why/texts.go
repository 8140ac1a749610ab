package why

import (
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"milterd/checks"
)

// files are the templates, texts and style of the pages.
//
//go:embed pages
var files embed.FS

// texts is what the pages of one language say beside the reasons themselves.
type texts struct {
	Reasons map[string]reasonText `yaml:"reasons"`
	Groups  map[string]string     `yaml:"groups"`
	Recipes map[string]recipe     `yaml:"recipes"`
	Titles  map[string]string     `yaml:"titles"`  // of the pages that are about no reason
	Notices map[string]string     `yaml:"notices"` // why a page shows less than its link promises
	RFCs    map[int]string        `yaml:"rfcs"`

	pages *template.Template
}

// reasonText is what is said of one reason.
type reasonText struct {
	Title   string   `yaml:"title"`
	Recipes []string `yaml:"recipes"`
	RFC     []string `yaml:"rfc"` // "5321 4.1.4"
	Local   bool     `yaml:"local"`
	Names   bool     `yaml:"names"`
}

// recipe is one thing to do, for several mail servers.
type recipe struct {
	ID    string `yaml:"-"`
	Title string `yaml:"title"`
	Text  string `yaml:"text"`
	Steps []step `yaml:"steps"`
}

type step struct {
	For  string `yaml:"for"`
	Text string `yaml:"text"`
	Code string `yaml:"code"`
}

// loadTexts reads the texts. The error is one of those who wrote them: a test finds it.
func loadTexts() (*texts, error) {
	folder, err := fs.Sub(files, "pages")
	if err != nil {
		return nil, err
	}
	t := new(texts)
	for _, name := range []string{"reasons.yaml", "recipes.yaml"} {
		text, err := fs.ReadFile(folder, name)
		if err != nil {
			return nil, err
		}
		d := yaml.NewDecoder(strings.NewReader(string(text)))
		d.KnownFields(true)
		if err := d.Decode(t); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for id, r := range t.Recipes {
		r.ID = id
		t.Recipes[id] = r
	}
	t.pages, err = template.ParseFS(folder, "pages.html")
	return t, err
}

// reasonView is what the page of a reason shows of it.
type reasonView struct {
	ID, Title, Why, Remedy string
	Reply                  []replyPart
	Local, Names           bool
	Recipes                []recipe
	RFCs                   []rfc
}

// replyPart is a piece of a reply, or the name of a value in it.
type replyPart struct {
	Text  string
	Value bool
}

type rfc struct {
	Number              int
	Section, Title, URL string
}

// reason tells all about a reason, with the values filled in. A reason without texts of its own, as of a check that somebody
// added, says what it says itself.
func (t *texts) reason(r *checks.Reason, v values) reasonView {
	own := t.Reasons[r.ID]
	view := reasonView{
		ID: r.ID, Title: own.Title, Why: r.Why, Remedy: r.Remedy, Local: own.Local, Names: own.Names,
		Reply: replyParts(r.Reply.Text),
	}
	if view.Title == "" {
		view.Title = "Reason " + r.ID
	}
	fill := v.replacer()
	for _, id := range own.Recipes {
		rec := t.Recipes[id]
		steps := make([]step, len(rec.Steps))
		for i, s := range rec.Steps {
			steps[i] = step{s.For, fill.Replace(s.Text), strings.TrimSpace(fill.Replace(s.Code))}
		}
		rec.Steps = steps
		view.Recipes = append(view.Recipes, rec)
	}
	for _, ref := range own.RFC {
		view.RFCs = append(view.RFCs, t.rfc(ref))
	}
	return view
}

// rfc reads "5321 4.1.4".
func (t *texts) rfc(ref string) rfc {
	number, section, _ := strings.Cut(ref, " ")
	n, _ := strconv.Atoi(number) // 0 has no title: a test finds it
	return rfc{n, section, t.RFCs[n], fmt.Sprintf("https://www.rfc-editor.org/rfc/rfc%d.html#section-%s", n, section)}
}

// replyParts takes the text of a reply apart: "HELO {helo} is ..." has a value.
func replyParts(text string) []replyPart {
	var parts []replyPart
	for text != "" {
		before, rest, open := strings.Cut(text, "{")
		if before != "" {
			parts = append(parts, replyPart{Text: before})
		}
		if !open {
			break
		}
		name, after, _ := strings.Cut(rest, "}")
		parts = append(parts, replyPart{strings.ReplaceAll(name, "_", " "), true})
		text = after
	}
	return parts
}
