# make run      build, start the daemon on its defaults, show it working, stay up
# make check    format, vet, staticcheck and the unit tests
# make test     install what the tests need (Debian, as root), then check and test everything
# make install  install what make build made below PREFIX, and the units; DESTDIR=DIR for another root
# make uninstall  remove what make install installed; the configuration, the store and its account stay
# make packages build .deb, .rpm, .tar.gz and image below dist, with an SBOM and checksums; VERSION=0.1.0 or that of the tag;
#               ARCHS='amd64' or FORMATS='deb rpm tar.gz oci.tar cdx.json' for some of them
# make soak     faults around running daemons under load, for ten minutes; SOAK=2h for longer
# make scale    a day of mail with stores of 100,000 to 10,000,000 records, and two daemons with one Redis; SCALE=100000,1000000
# make bench    measure the daemon beside filters that do less, under load; BENCH='-only hot1 -rounds 9', see -h

GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0
# Version 2.48 needs a module that the Go module proxy refuses in some networks.
NFPM = github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
CYCLONEDX = github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
FUZZTIME ?= 15000x
SOAK ?= 10m
SCALE ?= 100000,1000000,10000000
BIN ?= bin/milterd
DIST ?= dist
ARCHS ?= amd64 arm64
PREFIX ?= /usr/local
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)

# Without paths in what is compiled, a clone in another folder finds it all in the build cache. Without debug information, linking takes
# two thirds of the time; stack traces do not need it. With less garbage collection, compiling takes five sixths.
export GOFLAGS := $(shell $(GO) env GOFLAGS) -trimpath -ldflags=-s "-toolexec=env GOGC=400"
# Without cgo, as in the packages: what is compiled for one of these is compiled for all.
build check lint fuzz: export CGO_ENABLED = 0

.PHONY: build install uninstall packages run announce test check format lint unit fuzz soak scale bench microbench examples install-tools

build:
	$(GO) build -ldflags '-s -X main.buildVersion=$(VERSION)' -o $(BIN) ./cmd/milterd

# Everything that the program writes for its installation is made beside it. The configuration is not touched: it is
# written by hand.
made = $(dir $(BIN))
unitdir = $(DESTDIR)/etc/systemd/system
install:
	@test -x $(BIN) || { echo "there is no $(BIN) yet: make build"; exit 1; }
	install -D -m 755 $(BIN) $(DESTDIR)$(PREFIX)/sbin/milterd
	$(BIN) doc man $(made)man
	for page in $(made)man/*.[1-8]; do \
		install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/} || exit 1; \
	done
	$(BIN) completion bash >$(made)completion
	install -D -m 644 $(made)completion $(DESTDIR)$(PREFIX)/share/bash-completion/completions/milterd
	sed 's|/usr/local/|$(PREFIX)/|' systemd/milterd.service >$(made)milterd.service
	install -D -m 644 $(made)milterd.service $(unitdir)/milterd.service
	install -m 644 systemd/milterd.socket $(unitdir)/milterd.socket
	sed 's|/usr/local/|$(PREFIX)/|' systemd/milterd-report.service >$(made)milterd-report.service
	install -m 644 $(made)milterd-report.service $(unitdir)/milterd-report.service
	install -m 644 systemd/milterd-report.timer $(unitdir)/milterd-report.timer
	install -D -m 644 systemd/milterd.sysusers $(DESTDIR)/etc/sysusers.d/milterd.conf
	test -n "$(DESTDIR)" || ! command -v systemd-sysusers >/dev/null || systemd-sysusers /etc/sysusers.d/milterd.conf
	install -d $(DESTDIR)/etc/milterd

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/sbin/milterd $(DESTDIR)$(PREFIX)/share/man/man[1-8]/milterd[-.]*[1-8] \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/milterd $(unitdir)/milterd.service $(unitdir)/milterd.socket \
		$(unitdir)/milterd-report.service $(unitdir)/milterd-report.timer $(DESTDIR)/etc/sysusers.d/milterd.conf

packages:
	@GO='$(GO)' NFPM='$(GO) run $(NFPM)' CYCLONEDX='$(GO) run $(CYCLONEDX)' ARCHS='$(ARCHS)' FORMATS='$(FORMATS)' \
		cmd/milterd/package/build '$(VERSION)' '$(DIST)'

run: announce build
	@examples/demo $(BIN)

announce:
	@test -x $(BIN) || echo "The first build takes some minutes, and prints nothing after the downloads."

# The end-to-end tests wait now and then: lint and fuzz use the processors meanwhile. What they compile is compiled before, as go
# commands that run at the same time do not share their work.
test: install-tools build
	@printf '%s\n' unit lint fuzz | xargs -P 3 -I '{}' $(MAKE) --no-print-directory '{}'

# Prerequisites are in the order in which they must run.
.NOTPARALLEL:

# What one runs before each commit: nothing has to be installed, and it takes less than a minute with a warm cache. "go test ./..." also
# has the end-to-end tests that need nothing.
check: format
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) test -vet=off $$($(GO) list ./... | grep -v /e2e/)

install-tools:
	@.ci/install

format:
	@files=$$(git ls-files '*.go') && fmt=$$(gofmt -l $$files) || exit 1; test -z "$$fmt" || { echo "not formatted by gofmt:"; echo "$$fmt"; exit 1; }

lint: format
	$(GO) vet ./...
	$(GO) mod verify
	$(GO) run $(STATICCHECK) ./...
	@.ci/vulncheck $(GO) $(GOVULNCHECK)

# The end-to-end tests wait more than they compute, so twice as many packages as there are processors run at a time. Lint runs vet.
# Without GORACE, a test or a daemon with the race detector sleeps for a second before it ends.
# Packages are tested in the order in which they are named: one that takes minutes must not be the last to start.
# The tests build the daemon while others are compiled: what it needs is compiled before, and once.
longest = ./cmd/milterd/e2e/packages ./cmd/milterd/e2e/faults ./cmd/milterd ./milter/web/why
unit:
	$(GO) build -race ./...
	GORACE=atexit_sleep_ms=0 MILTERD_TEST_REAL=1 $(GO) test -race -shuffle=on -vet=off -p $$((2 * $$(getconf _NPROCESSORS_ONLN))) -timeout 20m \
		$(longest) ./...

soak: install-tools
	MILTERD_TEST_REAL=1 MILTERD_TEST_SOAK=$(SOAK) $(GO) test -race -timeout 0 -run TestSoak -v ./cmd/milterd/e2e/faults

# Each fuzz target with some inputs: a count costs the same on each machine. FUZZTIME=10m for a long time each.
fuzz:
	@.ci/fuzz $(GO) $(FUZZTIME)

bench: build
	$(GO) run ./cmd/milterd/internal/bench $(BENCH)

# It takes some 10 GiB of disk in the folder for temporary files.
scale:
	$(GO) run ./cmd/milterd/internal/bench -scale $(SCALE) -rounds 24 -time 10s

# Every hot path by itself, with its allocations.
microbench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# The generated files, and the outputs that documents show: the tests compare them.
examples: build
	$(BIN) doc config >examples/milterd.yaml
	$(GO) test ./cmd/milterd -run 'TestGenerated|TestDocuments' -update
