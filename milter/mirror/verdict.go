package mirror

import "slices"

// Answer is what a receiver does with mail.
type Answer string

// The answers, from the best to the worst.
const (
	Takes       Answer = "takes"
	Advises     Answer = "advises"      // it takes the mail and asks for something
	RefusesBulk Answer = "refuses bulk" // it takes the mail as long as the domain is no bulk sender
	Refuses     Answer = "refuses"      // it may defer the mail, refuse it, or put it into the spam folder
)

var answers = []Answer{Takes, Advises, RefusesBulk, Refuses}

// Verdict is the answer of one receiver.
type Verdict struct {
	Receiver string   `json:"receiver"`
	Answer   Answer   `json:"answer"`
	Because  []string `json:"because"` // ids of the findings that decide it
}

// String returns the answer as a clause: "Gmail may refuse it".
func (v Verdict) String() string {
	return v.Receiver + map[Answer]string{
		Takes: " would take it", Advises: " would take it, and asks for more", RefusesBulk: " may refuse it of a bulk sender", Refuses: " may refuse it",
	}[v.Answer]
}

// VerdictsOn returns the answers to mail with some findings. bulk reports whether the domain is a bulk sender at a receiver.
func VerdictsOn(findings []*Finding, bulk func(receiver string) bool) []Verdict {
	var list []Verdict
	for _, receiver := range Receivers() {
		v := Verdict{Receiver: receiver, Answer: Takes, Because: []string{}}
		for _, f := range findings {
			for _, d := range f.Demands {
				if d.Source.By == receiver {
					v.add(f, d.answer(bulk(receiver)))
				}
			}
		}
		list = append(list, v)
	}
	return list
}

// answer returns the answer of the receiver to mail that does not do as demanded.
func (d Demand) answer(bulk bool) Answer {
	switch {
	case !d.Refuses:
		return Advises
	case d.Bulk && !bulk:
		return RefusesBulk
	default:
		return Refuses
	}
}

func (v *Verdict) add(f *Finding, a Answer) {
	if slices.Index(answers, a) > slices.Index(answers, v.Answer) {
		v.Answer, v.Because = a, nil
	}
	if a == v.Answer && !slices.Contains(v.Because, f.ID) {
		v.Because = append(v.Because, f.ID)
	}
}
