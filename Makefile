# make demo       check AlexNet, train a small one on photographs, take three steps of the full one
# make test       formatting, lint, types, import directions, then the whole suite against the installed wheel
# make check      the first part of `make test` alone
# make bench      what the benchmarks measure, as tables
# make test-gpu   the tests that need a GPU
# make clean      removes whatever make made, the environment too
#
# The environment is .venv; PYTHON=... names the interpreter to make it with. Stamp files in it say what is done, so
# that a second run starts at once, and `installing` says that pip is at work: where it is left over, pip was killed
# half-way, and the environment is made anew.

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: demo test check bench test-gpu clean

PYTHON ?=
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
CONVSPEC := $(BIN)/python -m convspec
CANDIDATES := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python)

# Nothing is imported from the folder that a command runs in: what runs is the wheel.
export PYTHONSAFEPATH := 1
unexport PYTHONHOME PYTHONPATH

# Folders are listed too: their times change when a file goes.
SOURCES := pyproject.toml README.md LICENSE \
	$(shell find convspec kernels grammars specs -name __pycache__ -prune -o -print)

# $(call install,ARGUMENTS): pip under the constraints.
install = touch $(VENV)/installing; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(1); status=$$?; \
	rm $(VENV)/installing; exit $$status

demo: $(VENV)/all $(VENV)/wheel
	rm -rf runs/demo
	$(CONVSPEC) check specs/alexnet.cfg
	$(CONVSPEC) train specs/alexnet-small.cfg --run runs/demo/alexnet-small
	$(CONVSPEC) filters runs/demo/alexnet-small --scale 8
	$(CONVSPEC) train specs/alexnet.cfg --steps 3 --run runs/demo/alexnet
	@echo "open runs/demo/alexnet-small/report.html in a browser: curves, guesses, the network;"
	@echo "and filters.png beside it: what the first layer has learned, one band a GPU"

test: check
	CONVSPEC_EXPECT_INSTALLED=1 $(BIN)/python -m pytest --numprocesses $(WORKERS)

check: $(VENV)/dev $(VENV)/wheel
	$(BIN)/python -m ruff format --check --quiet --diff .
	$(BIN)/python -m ruff check --quiet .
	$(BIN)/python -m mypy
	$(BIN)/python -c 'from importlinter.cli import lint_imports_command as lint; lint()'

bench: $(VENV)/all $(VENV)/wheel
	@for script in benchmarks/*.py; do echo "== $$script" && $(BIN)/python $$script || exit; done

test-gpu: $(VENV)/dev $(VENV)/wheel
	@$(BIN)/python -c 'import sys, torch; torch.cuda.is_available() or sys.exit("make test-gpu: torch finds no GPU")'
	CONVSPEC_EXPECT_INSTALLED=1 $(BIN)/python -m pytest -m gpu

clean:
	rm -rf $(VENV) dist runs/demo .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find convspec kernels tests -name __pycache__ -exec rm -rf {} +

# The environment, with what builds the wheel.
$(VENV)/created: $(wildcard $(VENV)/installing)
	@for candidate in $(CANDIDATES); do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			python=$$candidate; break; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "make: Python 3.11 or later is needed, and none of these is: $(CANDIDATES)" >&2; \
		echo "make: name one with PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "make: $$python cannot make environments (on Debian and Ubuntu, install python3-venv)" >&2; \
		exit 1; \
	fi; \
	echo "making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv --clear $(VENV)
	@$(call install,hatchling)
	@touch $@

# The wheel, as it would be published.
dist/built: $(SOURCES) | $(VENV)/created
	@rm -rf dist
	$(BIN)/python -m hatchling build --target wheel
	@touch $@

# The wheel's dependencies, with the extras `all` or `dev`. The first time this takes minutes: torch is large.
$(VENV)/all $(VENV)/dev: pyproject.toml constraints.txt $(VENV)/created | dist/built
	@echo "installing convspec[$(@F)] into $(VENV): minutes the first time, for torch is large"
	@$(call install,"$$(echo dist/*.whl)[$(@F)]")
	@touch $@

# The wheel itself, whenever a source changed; after the extras, for which pip keeps a wheel of the same version.
$(VENV)/wheel: dist/built $(VENV)/created
	@$(call install,--no-deps --force-reinstall dist/*.whl)
	@touch $@
