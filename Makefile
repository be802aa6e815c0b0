# KlipStream analysis queue. `make help` lists the targets; every target installs what it needs, once.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Debian's own is built for speed (profile-guided): all that computes takes a sixth less time than by one from pyenv.
DEBIANS := /usr/bin/python3.11
PYTHON ?= $(shell $(DEBIANS) -c 'import ensurepip, venv' 2>/dev/null && echo $(DEBIANS) || echo python3)
VENV := .venv
BIN := $(VENV)/bin
# auto (kind where a Docker engine answers, else local), local, kind or current.
CLUSTER ?= auto
# Where the images were pushed to, PREFIX of PREFIX/klipstream-operator:TAG; those of build/images where empty.
IMAGES ?=
TAG ?= dev
SUITE ?=
MINUTES ?=
MODULE ?=
RUNS ?= 10000
SEED ?=
ABOUT ?=
SHRINK ?=
export TAG
ON_KIND := $(filter kind,$(CLUSTER))
KIND_TESTS := $(if $(ON_KIND),--cluster kind -m "(not node or kind) and not sweep")
# Three at a time: most tests wait for a cluster more than they compute, and each process has an API server of its own.
# A machine takes one node, so the tests that start one come afterwards, one after the other.
PYTEST := $(BIN)/pytest -q --durations=25 --durations-min=10 $(or $(KIND_TESTS),-n 3 -m "not node")
ON_NODE := $(if $(ON_KIND),,$(BIN)/pytest -q -m "node and not sweep")
NODE := node_modules/installed
# What node and its tools are started with: node comes as a Python wheel.
WITH_NODE := PATH="$(CURDIR)/$(BIN):$$PATH"
TEST_PACKAGES := $(VENV)/installed $(NODE) $(if $(ON_KIND),$(VENV)/kind)
CONVEX_URL ?=
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- setting up ------------------------------------------------------------------------------------------------

$(VENV)/installed: requirements/dev.txt pyproject.toml
	@hack/python-venv.sh $(PYTHON) $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: venv
venv: $(VENV)/installed ## Install the locked Python packages into .venv

# GPL, so only where it is asked for, and only for tests.
$(VENV)/kind: requirements/kind.txt $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/kind.txt
	@touch $@

$(VENV)/mutation: requirements/mutation.txt $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/mutation.txt
	@touch $@

$(NODE): package.json package-lock.json $(VENV)/installed
	$(WITH_NODE) npm ci --silent --ignore-scripts
	@touch $@

# In environments of their own: they want other versions than we do, and than one another.
.venv-static/installed .venv-supply/installed: .venv-%/installed: requirements/%.txt
	@hack/python-venv.sh $(PYTHON) .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/$*.txt
	@touch $@

.PHONY: lock
lock: venv ## Lock the dependencies again (requirements/*.txt)
	hack/lock.sh $(BIN)/uv

.PHONY: cluster-binaries
cluster-binaries: venv ## Build the Kubernetes components, once (about 6 minutes the first time)
	$(BIN)/python -m klipcluster build

# --- the main job ----------------------------------------------------------------------------------------------

.PHONY: demo
demo: venv ## The main job on a real cluster: install everything, analyse 8 videos, check the results
	$(BIN)/python -m klipdemo up --cluster $(CLUSTER) --images "$(IMAGES)" --tag "$(TAG)"

.PHONY: demo-down
demo-down: venv ## Remove everything that the demo made
	$(BIN)/python -m klipdemo down --cluster $(CLUSTER)

.PHONY: run
run: venv ## The operator on this machine against the cluster "dev", which gets the custom resources and a queue
	eval "$$($(BIN)/python -m klipcluster --name dev env)" && kubectl apply --server-side -f crds && \
	  kubectl wait --for=condition=Established -f crds && kubectl apply -f examples/default-queue.yaml && \
	  exec $(BIN)/python -m klipstream_operator

.PHONY: images
images: venv ## Build the images into build/images
	hack/images/build.sh

.PHONY: push
push: venv ## Build and push the images: make push IMAGES=registry.example.com/team [TAG=dev]
	hack/images/push.sh "$(IMAGES)"

# --- generated files -------------------------------------------------------------------------------------------

.PHONY: crds
crds: venv ## Generate crds/, the chart's copies and the webhooks' schema from the models
	$(BIN)/python -m klipstream_api.crds crds charts/klipstream/crds
	$(BIN)/python -m klipstream_relay.payload webhook-relay/src/klipstream_relay/webhook.schema.json

.PHONY: convex
convex: $(NODE) ## Generate convex/_generated from the functions
	$(WITH_NODE) npm run --silent codegen
.PHONY: openapi
openapi: venv ## Generate docs/openapi.json from the gateway's registry of routes
	$(BIN)/python -m klipstream_gateway.openapi docs/openapi.json

.PHONY: charts
charts: venv ## Generate the chart's README and dashboard, and docs/rbac.md
	$(BIN)/python -m klipchart

.PHONY: docs
docs: venv ## Generate docs/transitions.md from the operator's table
	$(BIN)/python -m klipstream_operator.transitions > docs/transitions.md

.PHONY: zipapp
zipapp: venv ## kubectl analysis as one file: build/kubectl-analysis (for this platform and Python)
	hack/zipapp.sh $(BIN)

# --- checking --------------------------------------------------------------------------------------------------

.PHONY: lint
lint: venv $(NODE) ## Style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 -p klipstream_worker
	$(BIN)/lint-imports
	$(WITH_NODE) npm run --silent types

.PHONY: static
static: venv .venv-static/installed ## The chart's static checks: helm lint, yamllint, checkov with its findings explained
	$(BIN)/python -m klipchart.static .venv-static/bin

.PHONY: audit
audit: .venv-supply/installed ## Known vulnerabilities of what the images hold (needs the advisory database of PyPI)
	hack/images/audit.sh .venv-supply/bin

.PHONY: sbom
sbom: .venv-supply/installed ## Bills of materials of the images into build/sbom
	hack/images/sbom.sh .venv-supply/bin

.PHONY: unit
unit: venv ## The pure tests
	$(BIN)/pytest -q tests/unit

.PHONY: oldest
oldest: venv ## The worker SDK's tests on the oldest Python that is here, from 3.9 on
	hack/oldest-python.sh

.PHONY: integration
integration: cluster-binaries $(TEST_PACKAGES) ## Tests against a real API server
	$(PYTEST) tests/integration
	$(if $(ON_NODE),$(ON_NODE) tests/integration)

.PHONY: e2e
e2e: cluster-binaries $(TEST_PACKAGES) ## End-to-end suites on the real node: make e2e [SUITE=name]
	$(BIN)/pytest -q -s $(KIND_TESTS) $(if $(filter gateway cli,$(SUITE)),tests/integration/$(SUITE) tests/unit/$(SUITE)) tests/e2e $(if $(SUITE),-k $(SUITE))

.PHONY: e2e-convex-live
e2e-convex-live: cluster-binaries $(TEST_PACKAGES) ## The Convex cases on a real deployment: CONVEX_URL, CONVEX_DEPLOY_KEY, both secrets
	@test -n "$(CONVEX_URL)" || { echo "Say which deployment: make e2e-convex-live CONVEX_URL=https://….convex.cloud" >&2; exit 2; }
	@for name in CONVEX_DEPLOY_KEY KLIPSTREAM_RELAY_SECRET KLIPSTREAM_APP_SECRET; do \
	  test -n "$${!name}" || { echo "Set $$name to what the deployment has: see docs/convex.md" >&2; exit 2; }; done
	CONVEX_URL=$(CONVEX_URL) $(BIN)/pytest -q tests/integration/convex/test_convex_sync.py

.PHONY: simulate
simulate: venv ## Seeded simulations: make simulate [RUNS=10000], or one: SEED=n [ABOUT=job-3] [SHRINK=1]
	$(BIN)/python -m klipsim $(if $(SEED),--seed $(SEED) $(if $(ABOUT),--about $(ABOUT)) $(if $(SHRINK),--shrink),--runs $(RUNS))

.PHONY: test
test: lint cluster-binaries $(TEST_PACKAGES) ## Everything that CI checks; CLUSTER=kind for the API server of kind
	$(BIN)/python -m klipsim --runs 1000
	$(WITH_NODE) npm test
	hack/oldest-python.sh
	$(PYTEST) tests/unit tests/simulation tests/integration $(if $(ON_KIND),tests/e2e)
	$(if $(ON_NODE),$(ON_NODE) tests/integration tests/e2e)

.PHONY: soak
soak: cluster-binaries ## Faults on at random for a bounded time: make soak [MINUTES=15]
	$(BIN)/python -m klipsoak --minutes $(or $(MINUTES),15)

.PHONY: mutants
mutants: $(VENV)/mutation ## Mutants of the pure modules that the quick tests kill: make mutants [MODULE=name] [MINUTES=45]
	$(BIN)/python -m klipmutants $(MODULE) --minutes $(or $(MINUTES),45)

.PHONY: bench
bench: cluster-binaries $(NODE) ## Benchmarks: make bench [SUITE=admission|scale|gateway|webhooks|convex|cli]
	$(BIN)/python -m klipbench $(or $(SUITE),admission)

.PHONY: clean
clean: ## Remove build output (not the caches outside the tree)
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache
