package replay

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"milterd/checks"
)

// Recording is a resolver that writes the answers of another one to a file and takes them from there the next
// time, so that two replays with one file get the same answers. Questions without an answer are not recorded.
// It is safe for concurrent use.
type Recording struct {
	live checks.Resolver
	open sync.WaitGroup // questions without an answer yet

	mu      sync.Mutex
	file    *os.File
	size    int64                    // of the complete lines, in bytes
	answers map[string]checks.Answer // by question; all are in the file
}

// lineStart is the start of each line of the file.
const lineStart = `{"question":`

// recorded is a line of the file, as JSON.
type recorded struct {
	Question string   `json:"question"`
	Records  []string `json:"records,omitempty"` // in master-file form
	NXDomain bool     `json:"nxdomain,omitempty"`
}

// OpenRecording opens a file of answers, or creates it. It deletes an incomplete last line.
func OpenRecording(path string, live checks.Resolver) (*Recording, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, checks.WithoutCall(err)
	}
	r := &Recording{live: live, file: f, answers: map[string]checks.Answer{}}
	if err := r.read(); err != nil {
		_ = f.Close() // the first error is returned
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// read reads the file.
func (r *Recording) read() error {
	in := bufio.NewReader(r.file)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		start := string(line[:min(len(line), len(lineStart))])
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, io.EOF) && strings.HasPrefix(lineStart, start):
			return r.file.Truncate(r.size)
		case errors.Is(err, io.EOF):
			return fmt.Errorf("line %d is not a recorded answer", n)
		case err != nil:
			return err
		}
		var rec recorded
		if json.Unmarshal(line, &rec) != nil || rec.Question == "" {
			return fmt.Errorf("line %d is not a recorded answer", n)
		}
		if r.answers[rec.Question], err = rec.answer(); err != nil {
			return fmt.Errorf("line %d is not a recorded answer: %w", n, err)
		}
		r.size += int64(len(line))
	}
}

func (rec recorded) answer() (checks.Answer, error) {
	a := checks.Answer{NXDomain: rec.NXDomain}
	for _, text := range rec.Records {
		rr, err := dns.NewRR(text)
		if err != nil {
			return checks.Answer{}, err
		}
		if rr != nil { // not a comment
			a.Records = append(a.Records, rr)
		}
	}
	return a, nil
}

// Close waits for the answers to open questions and closes the file.
func (r *Recording) Close() error {
	r.open.Wait()
	return r.file.Close()
}

// Lookup implements checks.Resolver. The answer is recorded even if the check stops waiting for it; otherwise the next
// replay would ask the question again.
func (r *Recording) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	if a, ok := r.recorded(q); ok {
		return a, nil
	}
	done := make(chan answer, 1)
	r.open.Go(func() {
		a, err := r.ask(context.WithoutCancel(ctx), q)
		done <- answer{Answer: a, err: err}
	})
	select {
	case a := <-done:
		return a.Answer, a.err
	case <-ctx.Done():
		return checks.Answer{}, ctx.Err()
	}
}

// ask asks the live resolver, which has a time limit of its own, and records the answer.
func (r *Recording) ask(ctx context.Context, q checks.Question) (checks.Answer, error) {
	a, err := r.live.Lookup(ctx, q)
	if err != nil {
		return a, err
	}
	return a, r.record(q, a)
}

// maxFollowed is the number of answers after each other from which further questions are announced, as in the resolver.
const maxFollowed = 4

// Announce implements checks.Announcer. The answers are recorded even if no check asks for them later; otherwise the next
// replay would announce the questions again. Questions that follow from recorded answers are not announced.
func (r *Recording) Announce(questions []checks.Query) { r.announce(questions, 0) }

func (r *Recording) announce(questions []checks.Query, followed int) {
	for _, q := range questions {
		if _, ok := r.recorded(q.Question); ok {
			continue
		}
		r.open.Go(func() {
			a, err := r.ask(context.Background(), q.Question)
			if err == nil && q.Then != nil && followed < maxFollowed {
				r.announce(q.Then(a), followed+1)
			}
		})
	}
}

func (r *Recording) recorded(q checks.Question) (checks.Answer, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.answers[q.String()]
	return a, ok
}

// record writes an answer to the file.
func (r *Recording) record(q checks.Question, a checks.Answer) error {
	rec := recorded{Question: q.String(), NXDomain: a.NXDomain}
	for _, rr := range a.Records {
		rec.Records = append(rec.Records, rr.String())
	}
	line, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.answers[rec.Question]; ok {
		return nil // another goroutine asked it at the same time
	}
	line = append(line, '\n')
	if _, err := r.file.WriteAt(line, r.size); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	r.size += int64(len(line))
	r.answers[rec.Question] = checks.Answer{Records: a.Records, NXDomain: a.NXDomain}
	return nil
}
