# make test   install what the suites need, run all of them, fail if one was skipped
# make check  lint
# make bench  measure us beside our rivals (minutes; needs wrk)
# make fuzz   each fuzz target for FUZZTIME
# make mutate change the code that decides, piece by piece, and see that a test fails (an hour)
# make soak   what takes long: a database's process killed a thousand times, and
#             thousands of histories of every store (see internal/linear)
# make run    the pages on http://localhost:9000

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
GO ?= go
FUZZTIME ?= 5m
GOLANGCI := v2.15.0
GREMLINS := v0.6.0
LINT := bin/golangci-lint-$(GOLANGCI)
# Programs that .ci/setup builds are there.
export PATH := $(CURDIR)/bin:$(PATH)

# Packages in which less than one change in twenty may pass the tests.
MUTATE := session csrf captcha throttle

.PHONY: test check bench fuzz mutate soak run setup vuln

# Nothing from the cache, which does not know the servers that were used.
test: setup
	GATEHOUSE_TEST_ALL=1 $(GO) test -race -count=1 -timeout 18m -json ./... | $(GO) run ./internal/noskip
	cd bench && $(GO) vet ./... && $(GO) test ./...

# What the tests use from outside of Go: installed where that is known how, else
# named.
setup:
	@.ci/setup

check: $(LINT)
	$(GO) mod tidy -diff
	cd bench && $(GO) mod tidy -diff
	$(GO) vet ./...
	$(LINT) run --allow-parallel-runners ./...

$(LINT):
	GOBIN=$(CURDIR)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)
	mv bin/golangci-lint $@

bench:
	cd bench && $(GO) run .

# Every fuzz target of the module, one after the other.
fuzz:
	@for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

# The packages themselves, without what draws and speaks, and without browsers: PATH has
# only Go, and tests that find no browser are skipped. Names of mutants that lived are printed.
mutate: bin/gremlins-$(GREMLINS)
	@status=0; for pkg in $(MUTATE); do \
		PATH=$$($(GO) env GOROOT)/bin CGO_ENABLED=0 bin/gremlins-$(GREMLINS) unleash -S l -E / --timeout-coefficient 5 --threshold-efficacy 95 ./$$pkg || status=1; \
	done; exit $$status

bin/gremlins-$(GREMLINS):
	GOBIN=$(CURDIR)/bin $(GO) install github.com/go-gremlins/gremlins/cmd/gremlins@$(GREMLINS)
	mv bin/gremlins $@

soak:
	GATEHOUSE_SOAK_KILLS=1000 $(GO) test -run '^TestKill$$' -v -timeout 2h ./store/sqlite
	GATEHOUSE_SOAK_HISTORIES=1000 $(GO) test -v -timeout 2h ./internal/linear

# Known vulnerabilities in what we use; it asks a database on the network.
vuln:
	$(GO) run golang.org/x/vuln/cmd/govulncheck@latest ./...

run:
	$(GO) run ./cmd/gatehouse serve
