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

// Recording is a resolver that writes the answers of another one to a file and takes them from there the next time, so that
// two replays with one file get the same answers. Questions without an answer are not recorded. It is safe for concurrent
// use.
//
// The file has one answer a line, as JSON. In memory is only where the line of each question begins.
type Recording struct {
	live checks.Resolver
	file *os.File
	seed maphash.Seed

	announced sync.WaitGroup // questions without an answer yet

	mu    sync.Mutex
	end   int64
	lines map[uint64]int64 // offset of the line, by hash of the question
}

// recorded is a line of the file.
type recorded struct {
	Question string   `json:"question"`
	Records  []string `json:"records,omitempty"` // in master-file form
	NXDomain bool     `json:"nxdomain,omitempty"`
}

// OpenRecording opens a file of answers, or creates it. An incomplete last line is overwritten.
func OpenRecording(path string, live checks.Resolver) (*Recording, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	r := &Recording{live: live, file: f, seed: maphash.MakeSeed(), lines: map[uint64]int64{}}
	if err := r.readIndex(); err != nil {
		_ = f.Close() // the first error is returned
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func (r *Recording) readIndex() error {
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
			return fmt.Errorf("line %d is not a recorded answer", n)
		}
		r.lines[r.hash(rec.Question)] = r.end
		r.end += int64(len(line))
	}
}

func (r *Recording) hash(question string) uint64 { return maphash.String(r.seed, question) }

// Close waits for the answers to announced questions and closes the file.
func (r *Recording) Close() error {
	r.announced.Wait()
	return r.file.Close()
}

// Lookup implements checks.Resolver.
func (r *Recording) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	if a, ok := r.recorded(q); ok {
		return a, nil
	}
	a, err := r.live.Lookup(ctx, q)
	if err != nil {
		return a, err
	}
	return a, r.record(q, a)
}

// maxFollowed is how many times the questions that follow from an announced answer are announced too, as for a resolver.
const maxFollowed = 4

// Announce implements checks.Announcer. The answers are recorded, whether or not a check asks for them later: else the next
// replay would announce the questions again. What follows from recorded answers is not announced.
func (r *Recording) Announce(questions []checks.Query) { r.announce(questions, 0) }

func (r *Recording) announce(questions []checks.Query, followed int) {
	for _, q := range questions {
		if r.has(q.Question) {
			continue
		}
		r.announced.Go(func() {
			a, err := r.Lookup(context.Background(), q.Question)
			if err == nil && q.Then != nil && followed < maxFollowed {
				r.announce(q.Then(a), followed+1)
			}
		})
	}
}

func (r *Recording) has(q checks.Question) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.lines[r.hash(q.String())]
	return ok
}

// recorded returns the answer that the file has.
func (r *Recording) recorded(q checks.Question) (checks.Answer, bool) {
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

// record writes an answer to the file.
func (r *Recording) record(q checks.Question, a checks.Answer) error {
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
	if _, ok := r.lines[r.hash(rec.Question)]; ok {
		return nil // another goroutine asked it at the same time
	}
	if _, err := r.file.WriteAt(line.Bytes(), r.end); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	r.lines[r.hash(rec.Question)] = r.end
	r.end += int64(line.Len())
	return nil
}
