# The one vocabulary of people and CI. `make` alone lists it.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

# bytecode makes every import two to three times faster; some shells turn it off
unexport PYTHONDONTWRITEBYTECODE
# seconds; the default of 60 is too short for torch on a slow or busy machine
export UV_COMPILE_BYTECODE_TIMEOUT := 600
# usage data stay here: rolekd/telemetry.py owns the list, tests/test_telemetry.py compares
export ORT_DISABLE_TELEMETRY := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := 1
export ITERATIVE_DO_NOT_TRACK := 1
export DO_NOT_TRACK := true
export HF_HUB_DISABLE_TELEMETRY := 1
export VIRTUAL_ENV := $(CURDIR)/.venv
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help setup repro check fix test test-slow test-kill fuzz bench reference snapshots docs ui lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# An environment's programs name its folder, and so does what makes rolekd importable in it: one
# that came along with a moved or copied project is made anew.
PLACE := "$(CURDIR)/.venv"
MOVED := $(shell test -f .venv/bin/activate && ! grep -qF -e 'VIRTUAL_ENV='$(PLACE) \
  -e 'VIRTUAL_ENV="'$(PLACE)'"' -e "VIRTUAL_ENV='"$(PLACE)"'" .venv/bin/activate && echo yes)
ifneq ($(MOVED),)
.PHONY: .venv/ready
endif

setup: .venv/ready  ## make .venv from requirements.lock, MLflow's tables, compiled kernels

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else \
	  "error: Python %d.%d; rolekd needs 3.11 or 3.12: make setup PYTHON=python3.12" % v)'
	@test -z "$(MOVED)" || rm -rf .venv
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode requirements.lock
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m rolekd.track.store
	$(BIN)/python -c "import rolekd.augment.kernels, rolekd.distill.kernels, rolekd.quantize.kernels"
	@touch $@

repro: setup  ## run the whole pipeline, print the comparison
	@test -e outputs/register || { $(BIN)/dvc repro prepare plan && $(BIN)/rolekd estimate; } || true
	@$(BIN)/dvc repro || { $(BIN)/rolekd doctor --faults; exit 1; }
	@$(BIN)/rolekd summary
	@! git rev-parse --git-dir >/dev/null 2>&1 || git ls-files --error-unmatch dvc.lock \
	  >/dev/null 2>&1 || echo "keep this run, so that dvc metrics diff compares the next with it:" \
	  "git add dvc.lock && git commit -m 'First run'"

check: setup  ## ruff, mypy, import-linter, the project's list of words
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.words

fix: setup  ## what ruff can mend by itself: faults, imports, layout
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# One thread each: two processes that both use two cores wait for each other. A few tests need no
# second process, which takes seconds to start; T can hold options of pytest: T="tests/sources -k idx"
test: $(if $(T),setup,check)  ## check, then all tests not marked slow; T=tests/search: those alone
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not kill" $(or $(T),-n 2 --dist worksteal)

test-slow: setup  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow --timeout 1800

test-kill: setup  ## 100 kills over the pipeline (KILLS, SEED); resumes where it ended
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m kill -s tests/pipeline/test_kills.py

# TARGET=params SEED=0 CASE=123: one case again; SHARE=10: ten times as many
fuzz: setup  ## 10,000 damaged inputs of every reader; failures go to build/fuzz
	PYTHONPATH=tests:tests/support OMP_NUM_THREADS=1 $(BIN)/python -m fuzz $(if $(TARGET),--target $(TARGET)) \
	  $(if $(SEED),--seed $(SEED)) $(if $(CASE),--case=$(CASE)) $(if $(SHARE),--share $(SHARE))

bench: setup  ## all benchmarks, as tables
	set -e; for name in augment data step search infer; do $(BIN)/rolekd bench $$name; done

reference: setup  ## docs/reference from the code: parameters, commands, losses, ...
	$(BIN)/python -m docs.generate

snapshots: setup  ## tests/cli/snapshots anew: what every command prints
	UPDATE_SNAPSHOTS=1 $(BIN)/python -m pytest tests/cli/test_snapshots.py

docs: setup  ## the pages as a site in build/docs; installs the extra `docs`
	$(BIN)/uv pip install --quiet --no-build-isolation --editable '.[docs]'
	$(BIN)/python -m docs.site

ui: setup  ## MLflow on http://127.0.0.1:5000, optuna-dashboard on :8080
	$(BIN)/rolekd ui

lock: setup  ## resolve requirements anew, those of the extra `notebook` with them
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	  --python-version 3.11 pyproject.toml --extra notebook requirements-dev.in -o requirements.lock

clean:  ## remove what can be made again, not the results of runs
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build *.egg-info
