# Needs Go and, for the tests, Python. Everything else is fetched into .cache (or the directory FAST_EXPORT_CACHE).

GO ?= go
PYTHON ?= python3
export FAST_EXPORT_CACHE := $(abspath $(or $(FAST_EXPORT_CACHE),.cache))

# The Postgres majors that tests run on. 15 is the one for the whole suite, 13 has no ctid ranges.
MAJORS := 13 14 15 16 17 18
# Tools are pinned here and not in go.mod: they are no part of the program.
GOFUMPT := mvdan.cc/gofumpt@v0.12.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
PG2PARQUET := pg2parquet@0.2.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

# RACE=1, or CI=true as CI sets it, turns the race detector on.
RACEFLAG := $(if $(filter 1 true,$(RACE) $(CI)),-race)
# More flags for go test: make test TESTFLAGS='-run TestChunks'
TESTFLAGS ?=
PACKAGES ?= ./...
FUZZTIME ?= 1m
SOAKTIME ?= 10m
DEMOFLAGS ?=
BENCHFLAGS ?=
BENCHROWS ?= 1000000
BENCHROUNDS ?= 5

.DEFAULT_GOAL := help

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: need-go ## build bin/fast-export, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/fast-export .

.PHONY: demo
demo: build ## export tables like the Minor Planet Center's from a throwaway Postgres
	bin/fast-export demo $(DEMOFLAGS)

.PHONY: test
test: setup ## run all tests; installs what they need in .cache first
	FAST_EXPORT_PG_MAJORS="$(MAJORS)" $(GO) run ./internal/tools/gotest $(RACEFLAG) -timeout 20m $(TESTFLAGS) $(PACKAGES)

.PHONY: race
race: ## run all tests with the race detector on
	@$(MAKE) --no-print-directory test RACE=1

.PHONY: lint
lint: need-go ## gofumpt, go vet, staticcheck, and govulncheck where its database can be reached
	@out=$$($(GO) run $(GOFUMPT) -l .) && if [ -n "$$out" ]; then echo "gofumpt would change:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	@out=$$($(GO) run $(GOVULNCHECK) ./... 2>&1) && exit 0; \
	case "$$out" in \
	*"vuln.go.dev"*) echo "govulncheck: its database (vuln.go.dev) cannot be reached: not checked";; \
	*) echo "$$out"; exit 1;; \
	esac

.PHONY: fuzz
fuzz: setup ## fuzz every fuzz target for FUZZTIME (1m) each
	@for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "== $$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

.PHONY: soak
soak: setup ## run the tests named TestSoak… for SOAKTIME (10m) each, with the race detector on
	FAST_EXPORT_SOAK=$(SOAKTIME) FAST_EXPORT_PG_MAJORS="$(MAJORS)" $(GO) run ./internal/tools/gotest -race -timeout 0 -count 1 -run '^TestSoak' ./...

.PHONY: bench
bench: build ## measure against today's way, other tools and the floor, then by fast-export bench (BENCHROWS, BENCHROUNDS; BENCHFLAGS goes to bench/peers/peers.py)
	@test -x "$(FAST_EXPORT_CACHE)/venv-bench/bin/python" || $(PYTHON) -m venv "$(FAST_EXPORT_CACHE)/venv-bench"
	@"$(FAST_EXPORT_CACHE)/venv-bench/bin/pip" install --quiet --disable-pip-version-check -r bench/peers/requirements.txt
	@test -x "$(FAST_EXPORT_CACHE)/cargo/bin/pg2parquet" || { command -v cargo >/dev/null && cargo install --quiet --locked --root "$(FAST_EXPORT_CACHE)/cargo" $(PG2PARQUET); } \
		|| echo "no cargo, or no crates.io: pg2parquet is left out" >&2
	PATH="$(FAST_EXPORT_CACHE)/cargo/bin:$$PATH" $(GO) run ./internal/tools/peers -python "$(FAST_EXPORT_CACHE)/venv-bench/bin/python" -rows "$(BENCHROWS)" -rounds "$(BENCHROUNDS)" -- $(BENCHFLAGS)

.PHONY: bench-butler
bench-butler: build setup ## measure fast-export butler against the Python way (BENCHFLAGS, as --rounds 3); 4 GB in the cache
	@test -f "$(FAST_EXPORT_CACHE)/bench-butler/made" || "$(FAST_EXPORT_CACHE)/venv/bin/python" bench/butler/make_repos.py "$(FAST_EXPORT_CACHE)/bench-butler"
	"$(FAST_EXPORT_CACHE)/venv/bin/python" bench/butler/bench.py --repos "$(FAST_EXPORT_CACHE)/bench-butler" --scratch "$(FAST_EXPORT_CACHE)" --binary bin/fast-export $(BENCHFLAGS)

.PHONY: golden
golden: setup ## rewrite the files that tests compare with: docs/types.md and others
	@for pkg in $$(grep -rl --include='*_test.go' 'flag.Bool("update"' . | xargs -n1 dirname | sort -u); do \
		$(GO) test -count 1 $$pkg -update || exit 1; \
	done

.PHONY: clean
clean: ## remove what make has built and fetched
	rm -rf bin fast-export "$(FAST_EXPORT_CACHE)"

# What the tests need, in the cache. Done once, it takes no time.
.PHONY: setup
setup: need-go
	@$(if $(RACEFLAG),command -v cc >/dev/null || { echo "the race detector needs a C compiler: apt-get install gcc libc6-dev" >&2; exit 1; };) \
	$(GO) run ./internal/tools/setup -cache "$(FAST_EXPORT_CACHE)" -majors "$(MAJORS)" -python "$(PYTHON)"

# Since 1.21 go fetches the version that go.mod names by itself.
.PHONY: need-go
need-go:
	@command -v $(GO) >/dev/null || { echo "no Go: install 1.26 or later (https://go.dev/dl, or apt-get install golang-go)" >&2; exit 1; }
	@case $$($(GO) env GOVERSION) in \
	go1.[0-9]|go1.[0-9].*|go1.1[0-9]|go1.1[0-9].*|go1.20|go1.20.*) \
		echo "Go is too old: $$($(GO) env GOVERSION); install 1.26 or later (https://go.dev/dl)" >&2; exit 1;; \
	esac
