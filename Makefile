# make results: the tables of the default experiment from nothing, or make results CONFIG=config/quick.yaml of another.
# make test: the tests. make bench: the benchmarks. All set up what is missing.

PYTHON ?= python3
CONFIG ?= config/config.yaml
BIN := .venv/bin

results: .venv/ready
	@test -f "$(CONFIG)" || { echo "$(CONFIG): is missing; name a config file: make results CONFIG=config/quick.yaml"; exit 1; }
	@PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --cores all --configfile "$(CONFIG)"

test: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# And the slow ones: several processes, DVC beside Snakemake, kills, the numbers in results/, and Slurm where one answers
# (tests/slurm.sh start).
SLOW := distributed or dvc or kills or results or slurm
test-all: test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[slurm]'
	$(BIN)/python -m pytest -m "$(SLOW)"

# The benchmarks, and the peers that they compare with.
bench: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m benchmarks

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --lint

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mlcl needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	@echo "Setting up .venv: a few minutes, once"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

# The lock: every version, direct and transitive, for Python 3.11 to 3.13 on every platform.
lock:
	$(BIN)/python -m pip install --quiet uv
	printf 'torch==2.13.0\ntorchvision==0.28.0\n' | $(BIN)/uv pip compile pyproject.toml --all-extras --universal \
	    --python-version 3.11 --no-emit-index-url --no-annotate --no-header --constraint - --output-file constraints.txt

.PHONY: results test test-all bench lint lock
