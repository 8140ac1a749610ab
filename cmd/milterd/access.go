package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/checks/access"
)

func newAccess(configFile *string) *cobra.Command {
	cmd := newGroup("access", "List, deny, allow and remove clients and senders")
	r := newRemote(cmd, configFile)
	cmd.AddCommand(newAccessList(r), newAccessAdd(r, "deny", "Refuse a client or sender",
		`  milterd access deny 198.51.100.0/24 --until 2026-12-04 --why "sends spam"
  milterd access deny @example.net --for 30d`,
	), newAccessAdd(r, "allow", "Let a client or verified sender skip all checks",
		`  milterd access allow 198.51.100.0/24 --until friday --why "asked by phone"
  milterd access allow @example.net --for 30d`,
	), newRemove(r, remover{
		use: "remove ENTRY", short: "Remove an entry from the store; for a network without an entry, those in it",
		function: "access/remove", kind: "entries",
	}))
	return cmd
}

// aboutEntries is the help of access deny and access allow.
const aboutEntries = `ENTRY is an address, a network, a host name, a .domain with all below it, user@domain, user@ at any domain, or @domain. It holds from
the next message on, on all hosts that share the store, beside the entries of the files of checks.access. Entries of allow lists
win: an allowed client or verified sender skips every other check. A sender is verified if SPF passes for its domain, or if the client has
a confirmed name under it. Mail of a sender without these comes in if its client is allowed.`

func newAccessList(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:   "list [WHAT]",
		Short: "List the entries of the store and of files, or those that cover an address, network, name or sender",
		Long: fmt.Sprintf(`List the entries of the store and of files, or those that cover an address, network, host name, domain or sender. At most
%d entries of files are listed.`, maxFileEntries),
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			return call(cmd, r, "access/list", accessArgs{Entry: strings.Join(args, "")}, showEntries)
		},
	}
}

// newAccessAdd returns the command that adds to a list.
func newAccessAdd(r *remote, list, short, example string) *cobra.Command {
	args := accessArgs{List: list}
	var end endFlags
	cmd := &cobra.Command{
		Use:     list + " ENTRY",
		Short:   short,
		Long:    short + ".\n\n" + aboutEntries,
		Example: example,
		Args:    oneArgument,
		RunE: func(cmd *cobra.Command, words []string) (err error) {
			args.Entry = words[0]
			if args.Until, err = end.time(time.Now(), 0); err != nil {
				return err
			}
			return call(cmd, r, "access/add", args, func(w io.Writer, a addedEntry) {
				showEntries(w, []access.Entry{a.Entry})
				for _, note := range a.Notes {
					fmt.Fprintln(w, "Note:", note)
				}
			})
		},
	}
	end.add(cmd, "the entry", "no end")
	cmd.Flags().StringVar(&args.Why, "why", "", "`TEXT` that says why; it is shown in replies of deny and in lists")
	return cmd
}

// maxFileEntries is the number of entries of files that are listed. Published lists have a million.
const maxFileEntries = 1000

// accessArgs are the arguments of the functions access/list and access/add.
type accessArgs struct {
	List  string    `json:"list,omitempty"` // deny or allow
	Entry string    `json:"entry"`
	Until time.Time `json:"until,omitzero"`
	Why   string    `json:"why,omitempty"`
}

// addedEntry is the result of access/add.
type addedEntry struct {
	access.Entry
	Notes []string `json:"notes"`
}

func (d *daemon) listAccess(ctx context.Context, a accessArgs) ([]access.Entry, error) {
	list, err := access.List(ctx, d.store, time.Now())
	if a.Entry == "" {
		return append(list, d.lists().FileEntries(time.Now(), maxFileEntries)...), err
	}
	if _, err := access.Parse(a.Entry, false); err != nil {
		return nil, err
	}
	return append([]access.Entry{}, d.lists().Look(ctx, time.Now(), a.Entry)...), err // [] in JSON
}

// lists returns the lists in force. The check access is in each pipeline.
func (d *daemon) lists() access.Looker {
	return d.pipeline.Load().Check(access.Info.Name).(access.Looker)
}

func (d *daemon) addAccess(ctx context.Context, a accessArgs) (addedEntry, error) {
	allow := a.List == "allow"
	e, err := access.Parse(a.Entry, allow)
	if err = cmp.Or(err, wholeNetwork(a.Entry)); err != nil {
		return addedEntry{}, err
	}
	if !allow {
		if err := cmp.Or(checkWhy(a.Why), d.checkRefusable(e.Entry, e.Network())); err != nil {
			return addedEntry{}, err
		}
	}
	covering := d.lists().Look(ctx, time.Now(), e.Entry)
	added := addedEntry{Notes: []string{}}
	if added.Entry, err = access.Add(ctx, d.store, time.Now(), access.Entry{List: e.List, Entry: e.Entry, Until: a.Until, Why: a.Why}); err != nil {
		return added, err
	}
	for _, c := range covering {
		switch {
		case !allow && c.List == "allow" && c.File != "":
			added.Notes = append(added.Notes, fmt.Sprintf("this has no effect: %s is allowed by %s:%d, and allow lists win", c.Entry, c.File, c.Line))
		case !allow && c.List == "allow":
			added.Notes = append(added.Notes, fmt.Sprintf("this has no effect while %s is allowed: milterd access remove %s", c.Entry, c.Entry))
		case allow && c.List == "deny":
			added.Notes = append(added.Notes, fmt.Sprintf("this wins over the deny entry %s", c.Entry))
		}
	}
	if !e.Network().IsValid() && !strings.ContainsAny(e.Entry, ".@") {
		added.Notes = append(added.Notes, fmt.Sprintf("this is about hosts named %s, without a domain; for senders write user@domain, for a domain its full name", e.Entry))
	}
	if domain, ok := strings.CutPrefix(strings.TrimPrefix(e.Entry, "@"), "."); ok && checks.OrgDomain(domain) == "" {
		added.Notes = append(added.Notes, fmt.Sprintf("this refuses every domain below the public suffix %s; to undo it: milterd access remove %s", domain, e.Entry))
	}
	if allow && isSender(e.Entry) {
		added.Notes = append(added.Notes, "this counts where SPF passes for the sender's domain, or the client has a confirmed name under it; for other mail, allow the client")
	}
	return added, nil
}

// isSender reports whether an entry of a list is one for senders.
func isSender(entry string) bool { return strings.Contains(entry, "@") }

// checkRefusable returns an error for what must not be denied or blocked: trusted networks, this host, and local domains. network is that
// of the text, or the zero value.
func (d *daemon) checkRefusable(text string, network netip.Prefix) error {
	cfg := d.config()
	if network.IsValid() {
		for _, trusted := range cfg.Policy.Trusted.Networks {
			if trusted.Overlaps(network) {
				what := "is trusted"
				if network.Bits() < trusted.Bits() {
					what = "has trusted clients"
				}
				return fmt.Errorf("%s %s (%s in trusted.networks), and mail from there is not checked", text, what, trusted)
			}
		}
		for _, own := range append(ownAddresses(), netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()) {
			switch {
			case network.Contains(own) && network.IsSingleIP():
				return fmt.Errorf("%s is an address of this host", text)
			case network.Contains(own):
				return fmt.Errorf("%s has the address %s of this host", text, own)
			}
		}
		return nil
	}
	domain, withBelow := strings.CutPrefix(text[strings.LastIndexByte(text, '@')+1:], ".")
	for _, local := range append([]string{cfg.Hostname}, cfg.LocalDomains...) {
		if domain != "" && (checks.Under(domain, local) || withBelow && checks.Under(local, domain)) {
			return fmt.Errorf("%s is local (%s) and cannot be denied; the reason sender-own-domain is about forged mail from it", text, local)
		}
	}
	return nil
}

// removeAccess removes entries of the store.
func (d *daemon) removeAccess(ctx context.Context, a removeArgs) (removal, error) {
	now := time.Now()
	list, err := access.Select(ctx, d.store, now, a.What)
	if err != nil {
		return removal{}, err
	}
	if len(list) == 0 {
		return removal{}, d.notRemoved(ctx, a.What)
	}
	if a.tooMany(len(list)) {
		return removal{Would: len(list)}, nil
	}
	restore := func(ctx context.Context) error { return d.relist(ctx, list) }
	return removal{Removed: len(list), restore: restore}, access.Remove(ctx, d.store, now, list)
}

// relist adds entries again.
func (d *daemon) relist(ctx context.Context, entries []access.Entry) error {
	for _, e := range entries {
		if _, err := access.Add(ctx, d.store, time.Now(), e); err != nil {
			return err
		}
	}
	return nil
}

// notRemoved returns the error of a removal for which there is no entry.
func (d *daemon) notRemoved(ctx context.Context, what string) error {
	found := d.lists().Look(ctx, time.Now(), what)
	switch {
	case len(found) == 0:
		return fmt.Errorf("%s is on no list", what)
	case found[0].File != "":
		return fmt.Errorf("%s is in %s:%d: edit the file, which is read again when it changes", found[0].Entry, found[0].File, found[0].Line)
	default:
		return fmt.Errorf("%s has no entry of its own; it is in %s (%s)", what, found[0].Entry, found[0].List)
	}
}

func showEntries(w io.Writer, list []access.Entry) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no entries")
		return
	}
	fmt.Fprintln(w, "LIST\tENTRY\tUNTIL\tSINCE\tFROM\tWHY")
	for _, e := range list {
		from := "store"
		if e.File != "" {
			from = fmt.Sprintf("%s:%d", e.File, e.Line)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.List, e.Entry, formatTime(e.Until), formatTime(e.Since), from, printableLine(e.Why))
	}
}
