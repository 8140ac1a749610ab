package replay

import (
	"context"
	"runtime"
	"sync"

	"milterd/cmd/milterd/internal/mailbox"
)

// read reads the archive into the sorter, with all cores: some read files, as many take messages apart. The error is one of the
// sorter; of a context that ends, what was read until then remains.
func read(ctx context.Context, paths []string, by sites, workers int, into *sorter, progress func(m mailbox.Message)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed error
	var once sync.Once
	files := make(chan mailbox.File)
	messages := make(chan mailbox.Message, 4*workers)
	put := func(m mailbox.Message) bool {
		select {
		case messages <- m:
			return true
		case <-ctx.Done():
			return false
		}
	}
	var readers, parsers sync.WaitGroup
	for range workers {
		readers.Go(func() {
			for f := range files {
				for m := range f.Messages(ctx) {
					if !put(m) {
						return
					}
				}
			}
		})
		parsers.Go(func() {
			for m := range messages {
				mail := newMail(m, by)
				if err := into.add(mail.key(), mail.encode()); err != nil {
					once.Do(func() { failed = err })
					cancel()
				}
				progress(m)
			}
		})
	}
	walk(ctx, paths, files, put)
	readers.Wait()
	close(messages)
	parsers.Wait()
	return failed
}

// walk finds the files. What cannot be read is a message with an error.
func walk(ctx context.Context, paths []string, files chan<- mailbox.File, put func(mailbox.Message) bool) {
	defer close(files)
	for f, err := range mailbox.Walk(paths) {
		if err != nil {
			if !put(mailbox.Message{File: f.Path, Err: err}) {
				return
			}
			continue
		}
		select {
		case files <- f:
		case <-ctx.Done():
			return
		}
	}
}

// Workers is how many cores there are for a replay.
func Workers() int { return runtime.GOMAXPROCS(0) }
