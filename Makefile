# `make demo` and `make test` need Python 3.11+ and make, nothing else: they set up .venv by themselves.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

# The newest supported Python that is there, unless PYTHON names one.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
STAMP := .venv/.installed
PYTEST_ARGS ?=
# Tests on a real API server wait for pods, so there are more workers than cores; they come first, a few at a time.
TEST_ARGS ?= -n 5 --dist load --maxschedchunk 2
# What is compiled once is not compiled again in each worker and each command: a third of what they need to start.
export PYTHONDONTWRITEBYTECODE :=
# What make e2e runs, and how: three clusters side by side, and at the end what the stories that passed have to show.
E2E ?= tests/e2e
E2E_ARGS ?= -n 3 --dist loadfile --no-loadscope-reorder -rP

# True where go is there and its version is 1.26 or newer.
GO_1_26 = [[ "$$(go env GOVERSION 2>/dev/null)" =~ ^go1\.([0-9]+) ]] && (( BASH_REMATCH[1] >= 26 ))

PROMETHEUS_IS_THERE = [ -n "$${PROMETHEUS:-}" ] || tests/prometheus/build.sh >/dev/null \
  || echo "not run: tests on a real Prometheus (Debian's package cannot be had, and PROMETHEUS names none)"
SHELLS_ARE_THERE = tests/shells/build.sh >/dev/null \
  || echo "not run: tests in zsh and fish that are not on this machine (Debian's packages cannot be had)"

.PHONY: help demo quick test thorough soak costs mutants e2e lint check docs lock wheel clean

help:
	@echo "make demo    the cutover of a fleet in memory, simulated: nothing but Python is needed"
	@echo "make quick   the tests that need neither Go nor root, in a minute and a half"
	@echo "make test    all tests; those on a real API server where Go 1.26+ or KUBEBUILDER_ASSETS is there"
	@echo "make thorough, make soak, make costs, make mutants: see docs/development.md"
	@echo "make e2e     tests on a real cluster with real pods: root, Debian-like Linux, Go 1.26+; 15 minutes to build, once"
	@echo "make lint    ruff, mypy --strict (of the tests as well), import contracts, prose"
	@echo "make check   lint and test"
	@echo "make docs    write the stage table and the command reference from the code"
	@echo "make wheel   build the wheel into dist/"
	@echo "make lock    renew requirements.lock (the only target that chooses versions)"

# Only hashed packages are installed, and the project itself without asking for anything more.
$(STAMP): requirements.lock pyproject.toml
	@[ -n "$(PYTHON)" ] && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "seimigrate needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m seimigrate.demo.demo

# Real etcd, kube-apiserver and kube-controller-manager: given, built once from their Go modules, or said to be absent.
test: $(STAMP)
	@assets="$${KUBEBUILDER_ASSETS:-}"; \
	if [ -n "$$assets" ]; then :; \
	elif $(GO_1_26); then assets=$$(tests/controlplane/build.sh); \
	else echo "not run: tests on a real API server (neither Go 1.26+ nor KUBEBUILDER_ASSETS is there)"; fi; \
	$(PROMETHEUS_IS_THERE); \
	$(SHELLS_ARE_THERE); \
	$${assets:+env KUBEBUILDER_ASSETS="$$assets"} $(BIN)/python -m pytest $(TEST_ARGS) $(PYTEST_ARGS)

# Nothing is built and nothing unpacked: for a first look, and for whenever a file is saved.
quick: $(STAMP)
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not controlplane and not prometheus and not cluster" $(PYTEST_ARGS)

# What no gate has time for: a hundred times as many random examples, and fleets of hundreds of nodes.
thorough:
	$(MAKE) test HYPOTHESIS_PROFILE=thorough SEIMIGRATE_NODES=200 PYTEST_ARGS="$(PYTEST_ARGS)"

# N times the same tests, BUSY loops beside them that take a core each; ends with the first failure.
N ?= 10
BUSY ?= 0
soak: $(STAMP)
	@tests/soak.sh $(N) $(BUSY) $(MAKE) test PYTEST_ARGS="$(PYTEST_ARGS)"

# What each folder and the longest tests cost: the tables of docs/development.md.
costs:
	@costs=$$(mktemp); trap 'rm -f "$$costs"' EXIT; \
	SEIMIGRATE_COSTS=$$costs $(MAKE) test PYTEST_ARGS="$(PYTEST_ARGS)" && $(BIN)/python -m tests.costs $$costs

# Which share of wrong operators the tests in memory notice, of the modules that decide; MUTANTS names some to try again.
MUTANTS ?=
mutants: .venv-mutants/.installed
	HYPOTHESIS_PROFILE=ci .venv-mutants/bin/python -m tests.mutants $(MUTANTS)

.venv-mutants/.installed: requirements-mutants.lock
	$(PYTHON) -m venv --clear .venv-mutants
	.venv-mutants/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-mutants.lock
	@touch $@

# A real kubelet, real pods, real network policies, in namespaces of its own; built once, cached outside the checkout.
e2e: $(STAMP)
	@if [ "$$(id -u)" = 0 ] && $(GO_1_26); then tests/controlplane/build.sh >/dev/null; tests/e2e/build.sh >/dev/null; \
	else echo "not built: the test cluster (it needs root and Go 1.26+)"; fi; \
	$(PROMETHEUS_IS_THERE); \
	env -u KUBEBUILDER_ASSETS $(BIN)/python -m pytest $(E2E_ARGS) $(E2E) $(PYTEST_ARGS)

# What is written in the project's language already; the rest of the tree follows (python -m tests.prose --count).
PROSE := README.md CHANGELOG.md docs/ runbooks/ tests/README.md \
  seimigrate/cli/ seimigrate/domain/ tests/domain/ tests/engine/
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.prose $(PROSE)

check: lint test

docs: $(STAMP)
	$(BIN)/python docs/generate.py

wheel: $(STAMP)
	$(BIN)/python -m hatchling build -t wheel

# With the oldest supported Python, so that the locks hold for the newer ones as well.
COMPILE := --quiet --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
  --no-emit-options --resolver=backtracking --extra test
lock:
	@v=$$(mktemp -d); trap 'rm -rf "$$v"' EXIT; export CUSTOM_COMPILE_COMMAND="make lock"; \
	$(PYTHON) -m venv "$$v"; "$$v/bin/python" -m pip install --quiet pip-tools; \
	"$$v/bin/pip-compile" $(COMPILE) --upgrade --extra dev --output-file=requirements.lock pyproject.toml; \
	"$$v/bin/pip-compile" $(COMPILE) --extra mutants --constraint requirements.lock \
	  --output-file=requirements-mutants.lock pyproject.toml

clean:
	rm -rf .venv .venv-mutants mutants dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
