package headers

import (
	"strings"
	"testing"
	"time"
)

// foreignMonths are the names that strftime(3) and Java write in some languages, or "-" for those that are not known.
var foreignMonths = map[string]string{
	"English":    "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
	"Albanian":   "jan shk mar pri maj qer korr gush sht tet nën dhj",
	"Azeri":      "Yan Fev Mar Apr May Iyn Iyl Avq Sentyabr Okt Noy Dek",
	"Catalan":    "gen. febr. març abr. maig juny jul. ag. set. oct. nov. des.",
	"Croatian":   "sij vel - tra svi - - kol ruj - stu pro",
	"Danish":     "jan feb mar apr maj jun jul aug sep okt nov dec",
	"Dutch":      "jan feb mrt apr mei jun jul aug sep okt nov dec",
	"Estonian":   "jaan veebr märts apr mai juuni juuli aug sept okt nov dets",
	"Finnish":    "tammi helmi maalis huhti touko kesä heinä elo syys loka marras joulu",
	"French":     "janv. févr. mars avril mai juin juil. août sept. oct. nov. déc.",
	"Hungarian":  "jan. febr. márc. ápr. máj. jún. júl. aug. szept. okt. nov. dec.",
	"Indonesian": "Jan Peb Mar Apr Mei Jun Jul Agt Sep Okt Nop Des",
	"Italian":    "gen feb mar apr mag giu lug ago set ott nov dic",
	"Latvian":    "janv. febr. marts apr. maijs jūn. jūl. aug. sept. okt. nov. dec.",
	"Lithuanian": "saus. vasario kov. bal. geg. birž. liep. rugp. rugs. spal. lapkr. gruod.",
	"Malay":      "Jan Feb Mac Apr Mei Jun Jul Ogo Sep Okt Nov Dis",
	"Polish":     "sty lut mar kwi maj cze - sie wrz paź - gru",
	"Portuguese": "jan fev mar abr mai jun jul ago set out nov dez",
	"Romanian":   "ian feb mar apr mai iun iul aug sept oct noi dec",
	"Slovenian":  "jan feb mar apr maj jun jul avg sep okt nov dec",
	"Spanish":    "ene feb mar abr may jun jul ago sep oct nov dic",
	"Turkish":    "Oca Şub Mar Nis May Haz Tem Ağu Eyl Eki Kas Ara",
}

func TestMonthOf(t *testing.T) {
	t.Parallel()
	for language, names := range foreignMonths {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			for i, name := range strings.Fields(names) {
				if got := monthOf(name); name != "-" && got != time.Month(i+1) {
					t.Errorf("%s is month %d, want %d", name, got, i+1)
				}
			}
		})
	}
}

// TestMonthOfWeekdays tests weekdays that stand after the month in Hungarian, and some that stand before it.
func TestMonthOfWeekdays(t *testing.T) {
	t.Parallel()
	for name := range strings.FieldsSeq("hétfő kedd szerda csütörtök péntek szombat vasárnap vas. Sen Sel Rab sekmadienis su ma ti ke to pe la keskiviikko ned pon") {
		if got := monthOf(name); got != 0 {
			t.Errorf("%s is %s", name, got)
		}
	}
}
