package evidence

import (
	"cmp"
	"slices"
	"strings"
)

// senderList collects the senders of entries. The entries of a verified sender with several clients are one sender.
type senderList struct {
	senders map[entryKey]*Sender
	all     map[entryKey]tally // occasions of the Sender
	most    map[entryKey]int   // those of Sender.Client
	clients map[string]bool
}

func newSenderList() *senderList {
	return &senderList{senders: map[entryKey]*Sender{}, all: map[entryKey]tally{}, most: map[entryKey]int{}, clients: map[string]bool{}}
}

// add adds the sender of an entry with its occasions t. why and clean are the results of reportData.whyGood.
func (l *senderList) add(e *entry, t tally, why string, clean tally) {
	l.clients[e.clientName()] = true
	key := e.key()
	if e.Verified {
		key.client = ""
	}
	s := l.senders[key]
	if s == nil {
		s = &Sender{Sender: e.Sender, Verified: e.Verified}
		l.senders[key] = s
	}
	if t.N > l.most[key] {
		s.Client, l.most[key] = e.Client, t.N
	}
	s.SPF = s.SPF || e.SPF
	all := l.all[key].plus(t)
	l.all[key] = all
	s.Occasions, s.First, s.Last = all.N, unixTime(all.First), unixTime(all.Last)
	s.Good = cmp.Or(s.Good, why)
	s.Clean = max(s.Clean, clean.N)
}

// goodCount returns the number of good senders.
func (l *senderList) goodCount() (n int) {
	for _, s := range l.senders {
		if s.Good != "" {
			n++
		}
	}
	return n
}

// sorted returns at most maxSenders senders, the good ones first, then those with the most occasions.
func (l *senderList) sorted() []Sender {
	list := []Sender{} // not null in JSON
	for _, s := range l.senders {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(x, y Sender) int {
		if (x.Good == "") != (y.Good == "") {
			return strings.Compare(y.Good, x.Good) // the empty one last
		}
		return cmp.Or(cmp.Compare(y.Occasions, x.Occasions), strings.Compare(x.Sender, y.Sender), strings.Compare(x.Client, y.Client))
	})
	return list[:min(len(list), maxSenders)]
}
