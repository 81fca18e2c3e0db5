# Every target runs one command of the package. `make help` lists the targets and their variables.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
SHELL := /bin/bash
# Without bytecode on disk every command would take ten seconds to compile its imports.
unexport PYTHONDONTWRITEBYTECODE

# The lock lets one installation run at a time, so that two makes at once do not harm each other. With
# --no-compile, modules are compiled when they are first used: compiling all of them takes longer than the rest.
define install
@mkdir -p $(VENV)
@exec 9>$(VENV)/.lock; flock 9; \
if [ -e $(VENV)/.$(1) ] && [ ! pyproject.toml -nt $(VENV)/.$(1) ]; then exit 0; fi; \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || { echo "lsmbench needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }; \
[ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV) \
  || { echo "python -m venv failed; on Debian or Ubuntu: apt install python3-venv" >&2; exit 2; }; \
echo "Installing lsmbench into $(VENV) …"; \
$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e "$(2)" && touch $(VENV)/.$(1)
endef

# One word for the shell, whatever it holds: blanks, brackets, quotes. SET and the leaderboard's RESULTS are lists of words.
quoted = '$(subst ','\'',$(1))'

# Options that `make bench` passes to the command, e.g. make bench DATASET=sit METHODS=lsm,sop PAIRED=100,10 SEEDS=0,1 SIZE=small JOBS=2
OPTIONS = $(if $(DATASET),--dataset $(call quoted,$(DATASET))) $(if $(DATA),--data $(call quoted,$(DATA))) $(if $(PAIRED),--paired $(call quoted,$(PAIRED))) \
  $(if $(PAIRED_COUNT),--paired-count $(call quoted,$(PAIRED_COUNT))) $(if $(SELECTION),--selection $(call quoted,$(SELECTION))) \
  $(if $(SIZE),--size $(call quoted,$(SIZE))) $(if $(DEVICES),--devices $(call quoted,$(DEVICES))) $(if $(ACCELERATOR),--accelerator $(call quoted,$(ACCELERATOR))) \
  $(if $(JOBS),--jobs $(call quoted,$(JOBS))) $(if $(OUTPUT),--output $(call quoted,$(OUTPUT))) $(if $(SET),--set $(foreach word,$(SET),$(call quoted,$(word)))) $(if $(TRACK),--track $(call quoted,$(TRACK)))
BENCH_OPTIONS = $(OPTIONS) $(if $(or $(METHODS),$(METHOD)),--methods $(call quoted,$(or $(METHODS),$(METHOD)))) $(if $(SEEDS),--seeds $(call quoted,$(SEEDS))) $(if $(PRECISION),--precision $(call quoted,$(PRECISION))) $(if $(MOST_SEEDS),--most-seeds $(call quoted,$(MOST_SEEDS))) $(if $(FOLDS),--folds $(call quoted,$(FOLDS))) $(if $(KEEP_WEIGHTS),--keep-weights $(call quoted,$(KEEP_WEIGHTS))) $(if $(REFINE_STEPS),--refine_steps $(call quoted,$(REFINE_STEPS))) $(if $(TUNED),--tuned)
# Options that `make sweep` passes, e.g. make sweep DATASET=sit METHOD=lsm PAIRED=100,50,5 TRIALS=40 STORAGE=postgresql://… JOBS=2
SWEEP_OPTIONS = $(OPTIONS) $(if $(or $(METHOD),$(METHODS)),--method $(call quoted,$(or $(METHOD),$(METHODS)))) $(if $(TRIALS),--trials $(call quoted,$(TRIALS))) \
  $(if $(STORAGE),--storage $(call quoted,$(STORAGE))) $(if $(STUDY),--study $(call quoted,$(STUDY))) $(if $(SPACE),--space $(call quoted,$(SPACE)))

ifdef DEVICE
$(error DEVICE is called ACCELERATOR; DEVICES is how many)
endif

.PHONY: help setup setup-dev bench sweep report leaderboard results list test test-all lint format clean
help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20
	@echo
	@echo "Variables of make bench and make sweep:"
	@echo "  DATASET=sit             benchmark (default: benchmarks/quick.yaml)   DATA=path        folder of the dataset's files"
	@echo "  PAIRED=100,10           values of N in per cent                      PAIRED_COUNT=20  numbers of pairs instead"
	@echo "  SELECTION=k_medoids     how pairs are selected                       SIZE=small       size of the benchmark"
	@echo "  DEVICES=2               devices of each run                          ACCELERATOR=cpu  cpu, gpu or auto"
	@echo "  JOBS=2                  runs at a time                               OUTPUT=results   folder of results"
	@echo "  TRACK=wandb             wandb, tensorboard or mlflow                 SET=\"training.epochs=20 …\"  further options"
	@echo "Of make bench:  METHODS=lsm,sop  SEEDS=0,1  FOLDS=5 (or leave_one_out, none)  TUNED=1 (parameters that sweeps found)"
	@echo "                SEEDS=auto PRECISION=0.005 MOST_SEEDS=10 (adds seeds where the difference to the best row is unsure)"
	@echo "                REFINE_STEPS=50,200 (tests methods that have a code again, with test-time optimisation)"
	@echo "                KEEP_WEIGHTS=best-row (or none, all: what make bench leaves for lsmbench predict)"
	@echo "Of make sweep:  METHOD=lsm  TRIALS=40  STORAGE=url  STUDY=name  SPACE=file.yaml"
	@echo "Of make report:  RESULTS=results/quick"
	@echo "Of make leaderboard:  RESULTS=\"results runs\"  OUTPUT=page.html  TRACK=wandb"
	@echo "Of make test:  ARGS=\"-k lsm\""

setup: ## Install lsmbench into .venv
	$(call install,bench,.)

setup-dev: ## Install lsmbench and its development tools into .venv
	$(call install,dev,.[dev])

bench: setup ## Run a benchmark and write its report (default: quick)
	@$(BIN)/lsmbench bench $(BENCH_OPTIONS)

sweep: setup ## Search for a method's best parameters, which make bench TUNED=1 uses
	@$(BIN)/lsmbench sweep $(SWEEP_OPTIONS)

report: setup ## Write a report again: make report RESULTS=results/quick
	@$(BIN)/lsmbench report $(call quoted,$(or $(RESULTS),results/quick))

leaderboard: setup ## Write every result on disk to one page, results/leaderboard.html
	@$(BIN)/lsmbench leaderboard $(foreach folder,$(RESULTS),$(call quoted,$(folder))) $(if $(OUTPUT),--output $(call quoted,$(OUTPUT))) $(if $(TRACK),--track $(call quoted,$(TRACK)))

results: setup ## Write docs/results.md from the results in benchmarks/results
	@$(BIN)/lsmbench leaderboard benchmarks/results --output docs/results.md

list: setup ## List methods, datasets and benchmarks
	@$(BIN)/lsmbench list

test: setup-dev ## Run the tests
	@$(BIN)/python -m pytest -n auto --maxprocesses 8 $(ARGS)

test-all: setup-dev ## Run the tests, also those that repeat for every method what some methods stand for
	@$(BIN)/python -m pytest -n auto --maxprocesses 8 -m '' $(ARGS)

lint: setup-dev ## Check style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: setup-dev ## Apply style
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

clean: ## Remove the environment and caches; results stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
