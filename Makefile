# Everything runs in .venv, which the first command builds. PYTHON: a Python 3.11, 3.12 or 3.13.
PYTHON ?= python3
SUITE ?= digits
COMPARED ?= digits_conditional
BIN := .venv/bin
# DVC runs its stages by name.
IN := PATH="$(CURDIR)/$(BIN):$$PATH"
# First a dvc.lock that a killed DVC left damaged is put back; a sound one is kept, here and after a success.
DVC := export $(IN) && boot-exp lock && dvc repro
# `make gpu` runs where there is no .venv, too: by PYTHON where that is given, else .venv's, else the system's.
GPU_PYTHON = $(if $(filter file,$(origin PYTHON)),$(firstword $(wildcard $(BIN)/python) $(PYTHON)),$(PYTHON))
# Threads that wait asleep, not spinning: on a machine that does anything else, several times faster.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help repro study compare bench gpu test fuzz check golden tensorboard format

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

repro: .venv/ready  ## run the suite: make repro, or make repro SUITE=fashion_mnist
	$(DVC) leaderboard@$(SUITE) && boot-exp lock
	@cat results/$(SUITE)/leaderboard.md
	@echo 'The report is results/$(SUITE)/report.html; make tensorboard shows the logs.'

study: .venv/ready  ## train and compare the ablations of params.yaml
	$(DVC) study && boot-exp lock
	@cat results/study/study.md

compare: .venv/ready  ## train and compare all methods on one teacher, with three seeds
	$(DVC) comparison@$(COMPARED) && boot-exp lock
	@cat results/$(COMPARED)/comparison.md

bench: .venv/ready  ## time steps, sampling and scores against their floors and against others
	$(BIN)/python -m benchmarks
	@cat results/benchmarks.md

gpu:  ## on one GPU, without network or DVC: laws, costs, a real run: make gpu BUDGET=600, or REDUCED=1 to rehearse it
	$(GPU_PYTHON) -m benchmarks.gpu $(if $(REDUCED),--reduced) $(if $(BUDGET),--budget $(BUDGET)) $(if $(OUT),--out $(OUT))

test: .venv/ready  ## all tests
	$(IN) python -m pytest -n 2 --dist loadfile

fuzz: .venv/ready  ## read files changed at random, ten minutes a kind: make fuzz FUZZ_SECONDS=600 FUZZ_SEED=1
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) FUZZ_SEED=$(or $(FUZZ_SEED),$(shell date +%s)) $(IN) python -m pytest tests/fuzz

check: .venv/ready  ## lint, types, floors and fast laws, in a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m 'not slow' tests/laws tests/engine tests/config/test_components.py tests/test_floors.py

golden: .venv/ready  ## write the golden traces that are missing or differ: make golden, or make golden METHOD=boot
	GOLDEN=write $(BIN)/python -m pytest tests/laws/test_traces.py $(if $(METHOD),-k $(METHOD))

format: .venv/ready  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tensorboard: .venv/ready  ## open the logs
	$(BIN)/tensorboard --logdir logs

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo 'Python 3.11, 3.12 or 3.13 is needed; say which one with make PYTHON=...' >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
