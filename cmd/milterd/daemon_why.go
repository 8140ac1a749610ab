package main

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/miekg/dns"
	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/counters"
	"milterd/checks/dkim"
	"milterd/headers"
	"milterd/milter/records"
	"milterd/milter/resolver"
	"milterd/milter/web/why"
)

// whyPages returns the pages for senders whose mail was refused.
func (d *daemon) whyPages() (http.Handler, error) {
	c := why.Config{
		Checks: all.Checks,
		Site:   d.config().Hostname,
		URL:    d.linkURL,
		Signer: d.signer,
		Log:    logrus.NewEntry(d.log),
	}
	if d.records != nil {
		c.Tester, c.Keep = tester{daemon: d}, d.records.Keep()
	}
	return why.New(c)
}

// tester implements why.Tester.
type tester struct{ *daemon }

// Record implements why.Tester.
func (t tester) Record(ctx context.Context, id string) (records.Record, bool, error) {
	return t.records.Get(ctx, id)
}

// Again implements why.Tester. The new DNS answers replace those in the cache, so the next mail is judged by them.
func (t tester) Again(ctx context.Context, r records.Record, names []string) []checks.Result {
	s := &checks.Session{
		ID:         "again",
		Time:       time.Now(),
		Client:     r.Client,
		ClientName: r.ClientName,
		Helo:       r.Helo,
		Envelope:   checks.Envelope{MailFrom: checks.ParseAddress(r.MailFrom)},
	}
	if len(r.Rcpts) > 0 {
		s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress(r.Rcpts[0])}}
	}
	if author := r.Detail("author_domain"); author != "" {
		s.Envelope.Header = []headers.Field{{Name: "From", Value: " postmaster@" + author}}
	}
	ctx = resolver.Renew(ctx)
	results := t.pipeline.Load().Again(ctx, s, names)
	if keys := keyNames(r); len(keys) > 0 {
		results = append(results, t.askKeys(ctx, keys))
	}
	return results
}

// keyNames returns the names of the DKIM keys of a refused message.
func keyNames(r records.Record) []string {
	if domain := r.Detail("signing_domain"); domain != "" {
		return []string{r.Detail("selector") + "._domainkey." + domain}
	}
	return strings.Fields(r.Detail("keys"))
}

// askKeys asks for DKIM keys, for the sender's page.
func (t tester) askKeys(ctx context.Context, names []string) checks.Result {
	var questions []checks.Question
	for _, name := range names {
		questions = append(questions, checks.Ask(name, dns.TypeTXT))
	}
	res := checks.Result{Check: dkim.Info.Name, Stage: checks.EndOfMessage}
	for i, a := range checks.LookupAll(ctx, t.resolver, questions...) {
		res.Asked = append(res.Asked, checks.Asked{Question: questions[i], Answer: a.Answer, Err: a.Err})
	}
	return res
}

// Repaired implements why.Tester. It lifts blocks of the client and of the mail of this sender, see counters.Repaired. Blocks for
// guessed recipients, and those of the operator, stay.
func (t tester) Repaired(ctx context.Context, r records.Record) (lifted bool, err error) {
	client := checks.ClientOf(r.Client)
	if !client.IsValid() {
		return false, nil
	}
	blocks, err := counters.Blocks(ctx, t.store, time.Now())
	if err != nil {
		return false, err
	}
	sender := cmp.Or(checks.ParseAddress(r.MailFrom).Domain, r.Helo)
	for _, b := range blocks {
		if b.Client == client && b.Of(sender) {
			was, errOf := counters.Repaired(ctx, t.store, b)
			lifted, err = lifted || was, errors.Join(err, errOf)
		}
	}
	if lifted {
		t.log.WithFields(logrus.Fields{"client": client.String(), "record": r.ID}).
			Info("block lifted: the reasons of the refused mail no longer apply")
	}
	return lifted, err
}
