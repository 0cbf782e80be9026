# make verify   all claims, then the digits network, with a report in build/report/index.html
# make test     the checks of every day: style, types, floors, fast tests
# make formal   the theorems in Coq: compiled, audited, compared with what is pinned (needs coq and coquelicot)
# make bench    ours and the peers on the same inputs (FULL=1: the large ones too; RECORD=1: a line in the table)
# make bench-compare BASE=<commit>   this tree against another commit on the same inputs
# make test-slow, make bench-methods, make derivations, make formal-pin, make clean
# Everything runs in an environment of its own, .venv, which is made when it is needed.

PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= 2
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
CORE   := $(VENV)/.core
DEV    := $(VENV)/.dev
TORCH  := $(VENV)/.torch
# One thread for BLAS: threads that wait for each other count as work done.
ONE    := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST := $(ONE) $(BIN)/python -m pytest

# What is compiled is kept, also where the environment says otherwise: tests start many programs.
export PYTHONDONTWRITEBYTECODE :=

.DELETE_ON_ERROR:
.PHONY: help verify test test-fast test-slow lint bench bench-compare bench-methods derivations formal formal-pin torch clean

help:
	@sed -n '1,/^$$/s/^# //p' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "balproof needs Python 3.11 or newer: say make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(CORE): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[onnx,digits]'
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(CORE)

# PyTorch is big, and few tests need it: they run where it is installed, and always in CI.
$(TORCH): $(DEV)
	$(PIP) 'torch==2.13.0'
	$(PIP) --editable '.[dev,torch]'
	@touch $@

torch: $(TORCH)

# A claim that is not as required (exit code 1) is for the second half to report, with the page.
verify: $(CORE)
	@mkdir -p build/report
	$(BIN)/balproof verify --json build/report/verify.json || [ $$? -eq 1 ]
	$(BIN)/python tools/verify_digits.py

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

test-fast: $(DEV)
	$(PYTEST) -n $(JOBS) --dist loadfile --benchmark-disable -m 'not slow'

test: lint test-fast

test-slow: $(DEV)
	$(PYTEST) -n $(JOBS) --benchmark-disable --doctest-modules --doctest-glob='*.md' \
	  balproof README.md CONTRIBUTING.md
	$(PYTEST) --nbmake -n $(JOBS) --benchmark-disable notebooks
	$(PYTEST) -n $(JOBS) --dist loadscope --durations=25 --benchmark-disable -m slow

BENCH := $(ONE) $(BIN)/python -m

bench: $(DEV)
	$(BENCH) benchmarks.run $(if $(FULL),--full) $(if $(RECORD),--record) $(if $(ONLY),--only '$(ONLY)')

bench-compare: $(DEV)
	@$(if $(BASE),:,echo "BASE is missing: say make bench-compare BASE=<commit>" >&2; exit 2)
	$(BENCH) benchmarks.compare '$(BASE)' $(if $(ONLY),--only '$(ONLY)')

bench-methods: $(DEV)
	$(PYTEST) --benchmark-only --benchmark-sort=name benchmarks

derivations: $(DEV)
	$(BIN)/python derivations/generate.py --check

formal: $(CORE)
	$(BIN)/python tools/formal.py

formal-pin: $(CORE)
	$(BIN)/python tools/formal.py --pin

clean:
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks $(VENV)
