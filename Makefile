# make sweep: install, train the small sweep, draw its phase diagram.  make test: install, run the default tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: sweep test test-slow test-slurm bench check install

sweep: $(INSTALLED)
	$(BIN)/python launch.py -m wd=0.1,1.0 frac=0.2,0.3,0.5 experiment=quick
	$(BIN)/python -m analysis sweep runs/quick

# A worker a core and one more, each with one thread; the tests of a file stay together, as they share what was trained.
test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist loadfile

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

# On a SLURM of one node that the tests start: root, and Debian's packages (tests/slurm/cluster.py install gets them).
test-slurm: $(INSTALLED)
	$(BIN)/python -m pytest -m slurm tests/slurm

# Some minutes, on a machine that does nothing else; writes bench.json.
bench: $(INSTALLED)
	$(BIN)/python tests/bench/bench.py

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -q tests/test_layers.py

install: $(INSTALLED)

# Again whenever what is installed changes.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
