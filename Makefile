# Everything a person or a machine does with this tree. "make help" lists it.

GO        ?= go
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS   := -s -w -X main.version=$(VERSION)
SEEDS     ?= 200
SOAK      ?= 1h
OF        ?= .
BENCHARGS ?=

# The race detector needs a C compiler; where there is none, "make check" says so.
RACE := $(if $(shell command -v $$($(GO) env CC)),-race,)

# A process under the race detector waits at its end for late races, by default a
# second: with two dozen test binaries that adds up.
export GORACE ?= atexit_sleep_ms=100

# Pure packages have no goroutines (TestLayers), nor has the codec, so nothing can
# race in them, and without the detector they are four times as fast. So are the
# tests of internal/partition that step it: with the detector they skip themselves.
PURE = $(addprefix ./,$(shell awk '$$2 == "pure" { sub(":", "", $$1); print $$1 }' ARCHITECTURE.md) internal/rpc/codec)

# The other packages of the root module. The simulator's seeds get a line of their own.
PACKAGES = $(filter-out $(shell $(GO) list $(PURE) ./internal/sim),$(shell $(GO) list ./...))

# Some wait for a disk or a clock: one more at once than there are processors.
AT_ONCE = -p $(shell expr 1 + $$(getconf _NPROCESSORS_ONLN))

.DEFAULT_GOAL := help
.PHONY: build check lint test soak mutants bench e2e demo generate help

build: ## build bin/penstock, static, without cgo
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/penstock ./cmd/penstock

check: lint ## what must be green before and after each commit
	@$(if $(RACE),,echo "no C compiler: the tests go without -race")
	$(GO) test -vet=off $(RACE) -short -timeout 5m $(AT_ONCE) $(PACKAGES)
	@$(MAKE) --no-print-directory -j sim storm pure

lint: ## gofmt, vet, staticcheck
	@bad=$$(gofmt -l .); \
	  if [ -n "$$bad" ]; then echo "gofmt -w these files:"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

# The simulator: SEEDS lives of a whole node, each with its own faults.
.PHONY: sim storm pure
sim:
	$(GO) test -vet=off ./internal/sim -timeout 10m -skip TestStorm -seeds=$(SEEDS)

# The same with real goroutines: most of its time it waits.
storm:
	$(GO) test -vet=off $(RACE) -short -timeout 5m ./internal/sim -run TestStorm

pure:
	$(GO) test -vet=off -short -timeout 5m $(PURE) $(if $(RACE),./internal/partition)

test: ## every test that needs Go and nothing else
	$(GO) test -timeout 20m ./...

soak: ## simulate and fuzz for SOAK (1h), then kill -9 the real binary
	$(GO) test ./internal/sim -timeout 0 -soak=$(SOAK)
	$(GO) test ./internal/queue -run '^$$' -fuzz FuzzMachine -fuzztime $(SOAK)
	@$(MAKE) --no-print-directory mutants
	@$(MAKE) --no-print-directory e2e

# Each is a fault on purpose; one that nobody sees means that a checker is blind.
# Two build and run at once on two processors.
mutants: ## break each promise on purpose, and see that a checker cries; OF=name for some
	$(GO) test ./internal/sim -run 'TestMutants$$' -timeout 0 -v -parallel $(shell getconf _NPROCESSORS_ONLN) -mutants='$(OF)'

bench: ## the numbers of README.md, with the machine's own limit beside them
	$(GO) run ./bench $(BENCHARGS)

e2e: build ## the built binary under kill -9 and a full disk
	cd e2e && PENSTOCK_BIN=$(CURDIR)/bin/penstock $(GO) test -count=1 -timeout 15m ./...

demo: build ## hash every .go file of the local Go through the queue; KILL=1 kills worker and server on the way
	@KILL=$(KILL) $(GO) run ./demo

generate: ## write the generated code anew; needs protoc
	sh api/generate.sh

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
