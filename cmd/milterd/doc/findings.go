package doc

import (
	"fmt"
	"io"
	"strings"

	"milterd/milter/mirror"
)

// writeFindingTable writes the findings of the mirror as a Markdown table.
func writeFindingTable(w io.Writer) {
	fmt.Fprintf(w, "| finding | what is wrong | %s |\n|---|---|---|---|---|\n", strings.Join(mirror.Receivers(), " | "))
	for _, f := range mirror.Findings() {
		var cells []string
		for _, v := range mirror.VerdictsOn([]*mirror.Finding{f}, func(string) bool { return false }) {
			cells = append(cells, string(v.Answer))
		}
		fmt.Fprintf(w, "| `%s` | %s | %s |\n", f.ID, f.Title, strings.Join(cells, " | "))
	}
}

// writeFindingTexts writes what each finding means, how to repair it and who demands it.
func writeFindingTexts(w io.Writer) {
	for _, f := range mirror.Findings() {
		fmt.Fprintf(w, "\n### %s\n\n%s.\n\n%s\n\n%s\n\n", f.ID, capital(f.Title), f.Meaning, f.Remedy)
		for _, d := range f.Demands {
			fmt.Fprintf(w, "- %s, since %s: %s, %s (as of %s)\n", d, d.Source.Since, d.Source.Title, d.Source.URL, d.Source.Read)
		}
	}
}

// writeFindingItems writes the findings for the manual page.
func writeFindingItems(w io.Writer) {
	for _, f := range mirror.Findings() {
		var demands []string
		for _, d := range f.Demands {
			demands = append(demands, d.String())
		}
		fmt.Fprintf(w, "- `%s`: %s. %s %s %s.\n", f.ID, capital(f.Title), f.Meaning, f.Remedy, strings.Join(demands, "; "))
	}
}

// capital returns a clause as the beginning of a sentence.
func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
