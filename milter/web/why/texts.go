package why

import (
	"cmp"
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"

	"milterd/checks"
)

// texts are the templates and the texts in the folder pages. The text of a reason itself comes from checks.Reason.
type texts struct {
	Reasons map[string]reasonText `yaml:"reasons"`
	Groups  map[string]string     `yaml:"groups"` // headings of the index, by name of the check
	Recipes map[string]recipe     `yaml:"recipes"`
	Titles  map[string]string     `yaml:"titles"`  // of pages that are about no reason
	Notices map[string]string     `yaml:"notices"` // why a page shows no record, or no result
	RFCs    map[int]string        `yaml:"rfcs"`    // titles

	templates *template.Template
}

// reasonText is what a page says about a reason, beside the reason's own texts.
type reasonText struct {
	Title   string   `yaml:"title"`
	Recipes []string `yaml:"recipes"`
	RFC     []string `yaml:"rfc"`         // number and section: "5321 4.1.4"
	Local   bool     `yaml:"local"`       // no standard requires it
	Forbids bool     `yaml:"rfc_forbids"` // RFC 5321 section 4.1.4 forbids to refuse mail for it
	Do      todo     `yaml:"do"`
}

// recipe is one way to repair something, for several mail servers.
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

// loadTexts returns the texts in the folder pages, which it reads once. It fails only if a file is broken.
var loadTexts = sync.OnceValues(readTexts)

func readTexts() (*texts, error) {
	t := new(texts)
	for _, name := range []string{"pages/reasons.yaml", "pages/recipes.yaml"} {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := yaml.Load(text, t, yaml.WithKnownFields()); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for id, r := range t.Recipes {
		r.ID = id
		t.Recipes[id] = r
	}
	var err error
	t.templates, err = template.ParseFS(files, "pages/*.html")
	return t, err
}

// title returns the heading of a reason. A reason without a text has its id.
func (t *texts) title(r *checks.Reason) string {
	return cmp.Or(t.Reasons[r.ID].Title, "Reason "+r.ID)
}

// reasonView is what a page shows of a reason.
type reasonView struct {
	ID, Title, Why, Remedy string
	Reply                  []replyPart
	Local, Forbids         bool
	Temporary              bool // the reply is 4yz by default
	Do                     todo
	Recipes                []recipe
	RFCs                   []rfc
}

// replyPart is literal text of a reply, or the name of a value.
type replyPart struct {
	Text  string
	Value bool
}

type rfc struct {
	Number  int    `json:"number"`
	Section string `json:"section"`
	Title   string `json:"-"`
	URL     string `json:"url"`
}

// reason returns what a page shows of a reason, with the values in its recipes.
func (t *texts) reason(r *checks.Reason, v values) reasonView {
	text := t.Reasons[r.ID]
	shown := reasonView{
		ID: r.ID, Title: t.title(r), Why: r.Why, Remedy: r.Remedy, Reply: replyParts(r.Reply.Text), Local: text.Local, Forbids: text.Forbids,
		Temporary: r.Reply.Code < 500, Do: text.Do,
	}
	replacer := v.replacer()
	for _, id := range text.Recipes {
		recipe := t.Recipes[id]
		steps := make([]step, len(recipe.Steps))
		for i, s := range recipe.Steps {
			steps[i] = step{For: s.For, Text: replacer.Replace(s.Text), Code: strings.TrimSpace(replacer.Replace(s.Code))}
		}
		recipe.Steps = steps
		shown.Recipes = append(shown.Recipes, recipe)
	}
	for _, ref := range text.RFC {
		shown.RFCs = append(shown.RFCs, t.rfc(ref))
	}
	return shown
}

// rfc parses a number and section, such as "5321 4.1.4".
func (t *texts) rfc(ref string) rfc {
	number, section, _ := strings.Cut(ref, " ")
	n, _ := strconv.Atoi(number)
	return rfc{
		Number: n, Section: section, Title: t.RFCs[n],
		URL: fmt.Sprintf("https://www.rfc-editor.org/rfc/rfc%d.html#section-%s", n, section),
	}
}

// replyParts splits the text of a reply at its placeholders: "HELO {helo} is ..." has the value "helo". It leaves out a
// placeholder right after a bracket: it stands for a clause that may be empty.
func replyParts(text string) []replyPart {
	var parts []replyPart
	for literal, name := range checks.TextParts(text) {
		if literal != "" {
			parts = append(parts, replyPart{Text: literal})
		}
		if name != "" && !strings.HasSuffix(literal, ")") {
			parts = append(parts, replyPart{Text: strings.ReplaceAll(name, "_", " "), Value: true})
		}
	}
	return parts
}
