# `make perf` and `make test` need only Python 3.11 or newer: the first call makes .venv and installs into it.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
REASON ?=
# Where torch comes from, if not from pip's own index: the address that pytorch.org names for your machine.
TORCH_INDEX ?=
RUN = $(VENV)/bin/python -m
STAMP = $(VENV)/.installed

.PHONY: perf test test-slow lint doctor compare refresh selftest

perf: $(STAMP)  ## run the benchmarks; ARGS="--quick" passes options on
	$(RUN) pytest perf $(ARGS)

test: $(STAMP)  ## run the tests (slow ones: make test-slow)
	$(RUN) pytest tests $(ARGS)

test-slow: $(STAMP)
	$(RUN) pytest tests -m slow $(ARGS)

lint: $(STAMP)
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

compare: $(STAMP)  ## compare with this machine's baseline
	$(RUN) pytest perf $(ARGS) --benchmark-compare

refresh: $(STAMP)  ## record a new baseline; REASON="why" is stored with it
	$(RUN) pytest perf $(ARGS) --refresh-baseline --reason "$(REASON)"

selftest: $(STAMP)  ## test the gate as a gate; ARGS="--hours 8"
	$(RUN) perfgate selftest --quick -k "linear or attention" $(ARGS)

doctor: $(STAMP)
	$(RUN) perfgate doctor $(ARGS)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(RUN) pip install --quiet --index-url $(TORCH_INDEX) $(shell grep '^torch==' constraints.txt))
	$(RUN) pip install --quiet --disable-pip-version-check -e '.[test]' -c constraints.txt
	touch $(STAMP)
