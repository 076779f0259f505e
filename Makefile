# Everything runs in .venv, which the first command builds. PYTHON: a Python 3.11, 3.12 or 3.13.
PYTHON ?= python3
SUITE ?= digits
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
# Threads that wait asleep, not spinning: on a machine that does anything else, several times faster.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help repro test check tensorboard format

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

repro: .venv/ready  ## run the suite: make repro, or make repro SUITE=fashion_mnist
ifeq ($(SUITE),digits)
	dvc repro
else
	dvc exp run -S 'suites=[$(SUITE)]'
endif
	@python -m evals show results/$(SUITE)

test: .venv/ready  ## all tests
	python -m pytest

check: .venv/ready  ## lint, types, floors and fast laws, in a minute
	ruff check . && ruff format --check . && mypy && python -m pytest -m 'not slow' tests/laws tests/test_floors.py

format: .venv/ready  ## mend what ruff can mend
	ruff check --fix . && ruff format .

tensorboard: .venv/ready  ## open the logs
	tensorboard --logdir logs

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
