package replay

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"sync"

	"github.com/miekg/dns"

	"milterd/checks"
)

// ErrNotAsked is what every question gets if the DNS is not to be asked.
var ErrNotAsked = errors.New("the DNS was not asked")

// Nobody is a resolver that asks nobody.
type Nobody struct{}

// Lookup implements checks.Resolver.
func (Nobody) Lookup(context.Context, checks.Question) (checks.Answer, error) {
	return checks.Answer{}, ErrNotAsked
}

// Recording is a resolver that asks another one, writes the answers to a file, and answers from there if it can: a replay with
// the same file is the same. A question that found no answer is not written, and asked again the next time.
//
// The file has a line of JSON for each answer. In memory are the places of the answers alone.
type Recording struct {
	live checks.Resolver
	file *os.File
	seed maphash.Seed

	mu    sync.Mutex
	end   int64
	lines map[uint64]int64 // place of the line by hash of the question
}

// recorded is a line.
type recorded struct {
	Question string   `json:"question"`
	Records  []string `json:"records,omitempty"` // in master-file form
	NXDomain bool     `json:"nxdomain,omitempty"`
}

// OpenRecording opens a file of answers, and makes it if there is none. A last line that is cut off is written over.
func OpenRecording(path string, live checks.Resolver) (*Recording, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	r := &Recording{live: live, file: f, seed: maphash.MakeSeed(), lines: map[uint64]int64{}}
	if err := r.index(); err != nil {
		_ = f.Close() // the first error is told
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func (r *Recording) index() error {
	in := bufio.NewReader(r.file)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var rec recorded
		if json.Unmarshal(line, &rec) != nil || rec.Question == "" {
			return fmt.Errorf("line %d is no recorded answer", n)
		}
		r.lines[r.hash(rec.Question)] = r.end
		r.end += int64(len(line))
	}
}

func (r *Recording) hash(question string) uint64 { return maphash.String(r.seed, question) }

// Close ends the recording. Nothing waits to be written.
func (r *Recording) Close() error { return r.file.Close() }

// Lookup implements checks.Resolver.
func (r *Recording) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	if a, ok := r.known(q); ok {
		return a, nil
	}
	a, err := r.live.Lookup(ctx, q)
	if err != nil {
		return a, err
	}
	return a, r.write(q, a)
}

// known answers from the file.
func (r *Recording) known(q checks.Question) (checks.Answer, bool) {
	r.mu.Lock()
	at, ok := r.lines[r.hash(q.String())]
	end := r.end
	r.mu.Unlock()
	if !ok {
		return checks.Answer{}, false
	}
	var rec recorded
	line, err := bufio.NewReader(io.NewSectionReader(r.file, at, end-at)).ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &rec) != nil || rec.Question != q.String() {
		return checks.Answer{}, false
	}
	a := checks.Answer{NXDomain: rec.NXDomain}
	for _, text := range rec.Records {
		rr, err := dns.NewRR(text)
		if err != nil || rr == nil {
			return checks.Answer{}, false
		}
		a.Records = append(a.Records, rr)
	}
	return a, true
}

func (r *Recording) write(q checks.Question, a checks.Answer) error {
	rec := recorded{Question: q.String(), NXDomain: a.NXDomain}
	for _, rr := range a.Records {
		rec.Records = append(rec.Records, rr.String())
	}
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(rec); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.file.WriteAt(line.Bytes(), r.end); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	r.lines[r.hash(rec.Question)] = r.end
	r.end += int64(line.Len())
	return nil
}

// answers remembers what was answered while one message was judged, so that judging it again gets the same answers at once.
type answers struct {
	mu    sync.Mutex
	known map[checks.Question]answer
}

type answer struct {
	checks.Answer
	err error
}

type answersKey struct{}

func withAnswers(ctx context.Context, a *answers) context.Context {
	return context.WithValue(ctx, answersKey{}, a)
}

// remembering is a resolver that goes by the answers of the context.
type remembering struct{ checks.Resolver }

// Lookup implements checks.Resolver.
func (r remembering) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	notes, ok := ctx.Value(answersKey{}).(*answers)
	if !ok {
		return r.Resolver.Lookup(ctx, q)
	}
	notes.mu.Lock()
	a, ok := notes.known[q]
	notes.mu.Unlock()
	if ok {
		return a.Answer, a.err
	}
	got, err := r.Resolver.Lookup(ctx, q)
	notes.mu.Lock()
	defer notes.mu.Unlock()
	if notes.known == nil {
		notes.known = map[checks.Question]answer{}
	}
	notes.known[q] = answer{got, err}
	return got, err
}
