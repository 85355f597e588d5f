# `make` or `make help` lists the targets. GNU make 4.3 and a POSIX shell are enough.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GO      ?= go
# Arguments of `make run`, as in: make run ARGS='--backend=consul'
ARGS    ?=
# What `make bench` measures: a regular expression over benchmark names.
BENCH   ?= .
# Packages tested by the test targets, as in: make test-short PKG=./recipe/...
PKG     ?= ./...
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

# Pinned tools live in modules of their own, so that what they need never reaches the product's
# go.mod. `go tool` builds each once and keeps it in the build cache.
GOLANGCI_LINT := $(GO) tool -modfile=tools/lint/go.mod golangci-lint
ACTIONLINT    := $(GO) tool -modfile=tools/actionlint/go.mod actionlint

# The race detector needs cgo and a C compiler. -timeout is a single package's.
# Most of a driver's cases wait for leases: many at once, whatever the number of cores.
GOTEST := env CGO_ENABLED=1 $(GO) test -race -parallel 16

# Packages whose tests start servers go one at a time, for each keeps a machine busy. The others,
# and the recipes', mostly wait for leases, and need not wait for each other.
WITH_SERVERS    = $(GO) list -test -f '{{with .ForTest}}{{.}} {{$$.Deps}}{{end}}' $(PKG) | awk '/conformance\/servers[] ]/ {print $$1}' | sort -u
WITHOUT_SERVERS = { $(GO) list $(PKG); $(WITH_SERVERS); } | sort | uniq -u

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## Build bin/seckill
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o bin/seckill ./cmd/seckill

.PHONY: run
run: build ## Build and start everything: bin/seckill up $(ARGS)
	bin/seckill up $(ARGS)

.PHONY: walk
walk: servers ## Walk through the whole sale once, a line for each step
	$(GO) test -count=1 -v -run '^TestWalk' ./cmd/seckill

.PHONY: console
console: servers ## Use the console in a browser on both stores, and keep screenshots in bin/screenshots
	$(GO) test -count=1 -v -run '^TestConsole' ./cmd/seckill

.PHONY: sale
sale: servers ## Sell 50,000 units to 80,000 buyers by real processes, and check every order
	SECKILL_TEST_FULL=1 $(GO) test -count=1 -v -timeout 30m -run '^TestSale$$' ./app/sale/rush

.PHONY: handover
handover: servers ## Replace a process ten times under 2,000 requests a second, on both stores
	SECKILL_TEST_FULL=1 $(GO) test -count=1 -v -timeout 30m -run '^TestHandOver$$' ./cmd/seckill

.PHONY: servers
servers: ## Build the pinned etcd and Consul servers the tests start (cached outside the checkout)
	$(GO) run ./conformance/servers/testservers build etcd etcdctl consul

.PHONY: test-short
test-short: ## Test without servers
	$(GOTEST) -short -p 8 -timeout 5m $(PKG)

.PHONY: test
test: servers ## Test everything on single nodes: what CI runs
	$(GO) vet ./...
	$(WITHOUT_SERVERS) | xargs -r $(GOTEST) -count=1 -p 4 -timeout 15m
	$(WITH_SERVERS) | grep /recipe/ | xargs -r $(GOTEST) -count=1 -p 3 -timeout 15m
	$(WITH_SERVERS) | grep -v /recipe/ | xargs -r $(GOTEST) -count=1 -p 1 -timeout 15m

.PHONY: test-full
test-full: servers ## Test everything, with three-node clusters and long runs
	$(GO) vet ./...
	SECKILL_TEST_FULL=1 $(GOTEST) -count=1 -p 1 -timeout 2h $(PKG)

# Results go through a directory, because the drivers are tested by processes of their own.
.PHONY: conformance
conformance: servers ## Run the conformance suite on every driver, one node and three, and write docs/conformance.*
	@results=$$(mktemp -d) && trap 'rm -rf "$$results"' EXIT && \
	{ SECKILL_TEST_FULL=1 SECKILL_CONFORMANCE_RESULTS=$$results \
		$(GOTEST) -count=1 -p 1 -timeout 1h -run '^TestConformance' ./backend/etcd ./backend/consul ./backend/memory; tested=$$?; \
	  $(GO) run ./conformance/report -results "$$results" && exit $$tested; }

# UPDATE=-update writes docs/selftest.md's table.
.PHONY: selftest
selftest: ## Run the conformance suite on broken stores, each of which it must reject
	$(GOTEST) -count=1 -timeout 1h ./conformance/selftest $(UPDATE)

.PHONY: openapi
openapi: ## Write docs/openapi-api.json and docs/openapi-admin.json, the documents of the services
	$(GO) test -count=1 -run '^TestDocumentIsCheckedIn$$' ./app/api -update
	$(GO) test -count=1 -run '^TestDocumentIsCheckedIn$$' ./app/admin -update

.PHONY: bench
bench: ## Run the benchmarks that match BENCH
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(PKG)

.PHONY: lint
lint: lint-format lint-modules lint-workflows lint-go ## Check formatting, modules, workflows and code

.PHONY: lint-format
lint-format:
	@files=$$("$$($(GO) env GOROOT)/bin/gofmt" -l .) && { [ -z "$$files" ] || { echo "not gofmt'ed:"; echo "$$files"; exit 1; } >&2; }

.PHONY: lint-modules
lint-modules:
	$(GO) mod tidy -diff
	$(GO) mod verify

# Whatever else is installed takes no part: the verdict is the same on every machine.
.PHONY: lint-workflows
lint-workflows:
	$(ACTIONLINT) -shellcheck= -pyflakes=

.PHONY: lint-go
lint-go:
	$(GOLANGCI_LINT) config verify
	$(GOLANGCI_LINT) run ./...

.PHONY: clean
clean: ## Remove what was built in the checkout
	rm -rf bin coverage.out
