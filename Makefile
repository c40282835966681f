# Everything a checkout needs. The only requirements are make and python3 (3.11 or newer).
#   make quickstart   the whole chain on drawn RGB-D scenes, offline; ends with a table and the report's path
#   make test         the default test suite
# Both make .venv when it is missing, and start at once when it is up to date.

PYTHON ?= python3
BIN := .venv/bin

# Threads per process: the suite and the quickstart are measured on two cores.
export OMP_NUM_THREADS ?= 2
# Test files are shared out among so many processes, one thread each.
WORKERS ?= 2
# First-party techniques only, and no model hub: a developer's other plugins must not change a result.
QUIET := EDGEFW_PLUGINS= HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

.PHONY: environment quickstart test test-slow lint types docs-check changelog dev clean

environment:
	@$(PYTHON) scripts/environment.py

quickstart: environment
	@$(QUIET) $(BIN)/edgefw run quickstart --out runs/quickstart --resume

test: environment
	$(QUIET) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --durations=10 $(ARGS)

test-slow: environment
	$(QUIET) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --durations=20 -m "slow and not gpu" $(ARGS)

lint: environment
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# mypy cannot follow the import hook of a mapped editable install, so it reads an installed snapshot.
types: environment
	rm -rf build .typing
	$(BIN)/python -m pip install --quiet --no-deps --target .typing .
	$(BIN)/mypy

docs-check: environment
	$(QUIET) $(BIN)/python -m pytest -q -m "not gpu" tests/test_docs*.py $(ARGS)

changelog: environment
	$(BIN)/python scripts/changelog.py

# After adding an entry point to pyproject.toml, or a package folder: metadata is written at install.
dev: environment
	@$(PYTHON) scripts/environment.py --reinstall

clean:
	rm -rf build dist .typing .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
