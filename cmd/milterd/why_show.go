package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"milterd/checks"
	"milterd/checks/greylist"
	"milterd/milter/records"
)

// showWhy shows, in one screen, what is known of a subject, each with the command that changes it.
func showWhy(w io.Writer, k knowledge) {
	fmt.Fprintf(w, "%s\t%s\n", k.Kind, printableLine(k.What))
	if k.Rcpt != "" {
		fmt.Fprintf(w, "recipient\t%s\n", printableLine(k.Rcpt))
	}
	who := cmp.Or(k.Client, k.What)
	showLists(w, k, who)
	blocks := k.blocks()
	for _, b := range blocks {
		fmt.Fprintf(w, "block\t%s%s for %s\tmilterd block remove %s\n", checks.FormatNetwork(b.Client), untilOf(b.Until), printableLine(b.Why), checks.FormatNetwork(b.Client))
	}
	if len(blocks) == 0 && k.Client != "" {
		fmt.Fprintf(w, "block\tnone\tmilterd block add %s\n", k.Client)
	}
	showGreylist(w, k, who)
	for _, c := range k.Rates {
		fmt.Fprintf(w, "rate\t%s, until %s\tedit %s, then systemctl reload milterd\n", c, formatTime(c.Until), c.Key())
	}
	if k.Domain != "" {
		good := "not known to be a good sender"
		if k.Good {
			good = "a good sender: not blocked, and evidence against reasons that refuse it"
		}
		fmt.Fprintf(w, "evidence\t%s is %s\tmilterd report action\n", k.Domain, good)
	}
	if len(k.Decisions) > 0 {
		fmt.Fprintln(w)
		showRecords(w, k.Decisions)
		for _, r := range k.Decisions {
			showVouches(w, r)
		}
	}
	if k.Decision != nil {
		if k.Decision.Number != k.Decisions[0].Number {
			fmt.Fprintf(w, "\nThe last decision that refused or quarantined mail, %s:\n", k.Decision.Session)
		}
		fmt.Fprintln(w)
		showRecord(w, *k.Decision)
	}
	if k.Remedy != "" {
		fmt.Fprintf(w, "\nTo answer the sender: %s\n", k.Remedy)
	}
	if k.Link != "" {
		fmt.Fprintf(w, "The sender's page: %s\n", k.Link)
	}
}

// showLists shows the entries of the lists, with the commands that change them. who is the client, or what was asked for.
func showLists(w io.Writer, k knowledge, who string) {
	for _, e := range k.Lists {
		change := "milterd access remove " + e.Entry
		place := ""
		if e.List == "allow" && isSender(e.Entry) {
			place = " for verified mail"
		}
		if e.File != "" {
			place, change = place+fmt.Sprintf(" in %s:%d", e.File, e.Line), "edit the file"
		}
		if e.Why != "" {
			place += " (" + printableLine(e.Why) + ")"
		}
		fmt.Fprintf(w, "list\t%s %s%s%s\t%s\n", e.List, e.Entry, untilOf(e.Until), place, change)
	}
	switch {
	case len(k.Lists) > 0 || k.Kind == "user" || k.Local || who == nullPath:
	case k.Kind == "sender" && k.Client != "":
		fmt.Fprintf(w, "list\tnone\tmilterd access allow %[1]s; milterd access deny %[1]s\n", k.Client)
		if k.What != nullPath {
			fmt.Fprintf(w, "\t\tmilterd access allow %[1]s, if SPF passes; milterd access deny %[1]s\n", k.What)
		}
	case k.Kind == "domain":
		fmt.Fprintf(w, "list\tnone\tmilterd access allow @%[1]s, if SPF passes; milterd access deny @%[1]s\n", k.What)
		fmt.Fprintf(w, "\t\tmilterd access allow %[1]s; milterd access deny %[1]s, for a host of this name\n", k.What)
	default:
		fmt.Fprintf(w, "list\tnone\tmilterd access allow %[1]s; milterd access deny %[1]s\n", who)
	}
}

// showGreylist shows what greylisting knows, with the commands that change it. who is the client, or what was asked for.
func showGreylist(w io.Writer, k knowledge, who string) {
	for _, t := range k.Triplets {
		fmt.Fprintf(w, "greylist\t%s: <%s> to <%s>, %d %s%s\tmilterd greylist forget %s\n", t.State, printableName(t.From), printableName(t.To),
			t.Attempts, plural(t.Attempts, "attempts"), suspicionOf(t), cmp.Or(t.Client, who))
	}
	for _, c := range k.Clients {
		state := fmt.Sprintf("passed %d %s", c.Passes, plural(c.Passes, "times"))
		if c.Allowed {
			state = "is allowed by milterd greylist allow"
		}
		fmt.Fprintf(w, "greylist\t%s %s\tmilterd greylist forget %s\n", c.Identity, state, who)
	}
	if len(k.Triplets)+len(k.Clients) == 0 && k.Client != "" {
		fmt.Fprintf(w, "greylist\tnot known\tmilterd greylist allow %s\n", k.Client)
	}
	if more := k.Greylisted - len(k.Triplets) - len(k.Clients); more > 0 {
		fmt.Fprintf(w, "greylist\t%d more\tmilterd greylist show %s\n", more, who)
	}
}

// showVouches shows what was waived for an accepted message, and by what.
func showVouches(w io.Writer, r records.Record) {
	var parts []string
	if len(r.Waived) > 0 {
		parts = append(parts, "waived "+strings.Join(r.Waived, ", "))
	}
	for _, v := range r.Vouches {
		parts = append(parts, v.String())
	}
	if len(parts) > 0 {
		fmt.Fprintf(w, "\n%s was let in. %s\n", r.Session, printableLine(strings.Join(parts, "; ")))
	}
}

func suspicionOf(t greylist.Triplet) string {
	if t.Suspicion == "" {
		return ""
	}
	return ", for " + t.Suspicion
}
