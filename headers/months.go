package headers

import (
	"strings"
	"time"
	"unicode/utf8"
)

// monthPrefixes are the beginnings of the months' names, in English and in other languages, which programs of a foreign locale write. The
// longest one decides: marraskuu is November in Finnish. No prefix is that of a weekday that some language writes after the month.
var monthPrefixes = [...]string{
	"jan gen ene ian sty led oca jaan sij saus tammi yan янв січ ιαν",
	"feb fév fev lut úno şub veebr vel vasari helmi peb shk фев лют φεβ",
	"mar mär mrz mae maa mrt már bře kov mac мар бер μαρ μάρ",
	"apr avr abr ápr kwi dub nis tra bal huhti pri апр кві απρ",
	"may mai maj mei mag máj kvě svi geg touko мая май тра μαϊ μάι",
	"jun juin giu jún iun cze haz juun jūn bir kesä kesa qer iyn июн чер ιουν ιούν",
	"jul juil lug júl iul lip tem juul jūl liep hein korr iyl июл лип ιουλ ιούλ",
	"aug aoû aou ag sie srp ağu kol avg avq rugp elo ogo gush авг сер αυγ αύγ",
	"sep set szep wrz zář eyl ruj rugs syys sent sht сен вер σεπ",
	"oct okt ott out paź říj eki spal loka tet окт жов οκτ",
	"nov noi lis kas stu lapk marras noy nop nën ноя лис νοε νοέ",
	"dec dez déc dic des gru pro ara dets dek dis joulu dhj дек гру δεκ",
}

// sharedPrefixes are those of two months: listopad is October in Croatian and November in Polish and Czech, lipanj June in Croatian and
// lipiec July in Polish, srpanj July in Croatian and srpen August in Czech.
var sharedPrefixes = []string{"lis", "lip", "srp"}

// monthOf returns the month whose name begins with the first letters of word, or 0. A word that is not UTF-8 is tried in ISO 8859-1 and
// in Windows-1251.
func monthOf(word string) time.Month {
	if !utf8.ValidString(word) {
		const latin, cyrillic = '\u00c0', '\u0410'
		return max(monthOf(fromCharset(word, latin)), monthOf(fromCharset(word, cyrillic)))
	}
	word = strings.ToLower(word)
	for n := len(word); n > 0; n-- {
		if month := monthsByPrefix[word[:n]]; month > 0 {
			return month
		}
	}
	return 0
}

// monthsByPrefix has the months of monthPrefixes. A hostile message has a hundred thousand words to look up.
var monthsByPrefix = func() map[string]time.Month {
	months := map[string]time.Month{}
	for i, prefixes := range monthPrefixes {
		for prefix := range strings.FieldsSeq(prefixes) {
			months[prefix] = time.Month(i + 1)
		}
	}
	return months
}()

// fromCharset converts a word from a character set whose octets from 0xC0 on are the characters of Unicode from first on. It leaves out
// the other octets over 127.
func fromCharset(word string, first rune) string {
	var b strings.Builder
	for i := range len(word) {
		switch c := word[i]; {
		case c >= 0xc0:
			b.WriteRune(first + rune(c-0xc0))
		case c < utf8.RuneSelf:
			b.WriteByte(c)
		}
	}
	return b.String()
}
