# Everything goes into .venv; nothing else on the machine changes.
#
#   make demo     set up, measure this machine, run the main job, say where the picture is
#   make test     set up, run the whole suite
#   make lint     ruff and mypy --strict
#   make bench    run the benchmarks
#   make clean    take away .venv and what the tools left
#
# Each may be given:
#
#   PYTHON=python3.12   the Python to use, 3.11 or newer; otherwise the first one that is found
#   VENV=DIR            where the environment goes, in place of .venv
#   TORCH=skip          install no torch: a new environment then sees the one that PYTHON has, if any
#
# On Linux pip's own torch may bring all of CUDA along, gigabytes. Let pip find the CPU build first
# (PIP_EXTRA_INDEX_URL; torch's installation page has the address), or use the torch that you have.

OLD_ENOUGH = -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" $(OLD_ENOUGH) 2>/dev/null && echo "$$p" && break; done)
VENV ?= .venv
RUN = "$(VENV)/bin/python"
INSTALL = $(RUN) -m pip install --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	@"$(VENV)/bin/llmos" demo

test: $(VENV)/.test
	$(RUN) -m pytest -n 2

lint: $(VENV)/.test
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy --strict

bench: $(VENV)/.demo
	@for script in benchmarks/[!_]*.py; do echo "==> $$script"; $(RUN) "$$script" || exit; done

clean:
	rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/pyvenv.cfg
	$(call install,.)

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/pyvenv.cfg
	$(call install,.[dev])

# The build tool goes first, from constraints.txt too: without isolation every version is pinned.
define install
	@echo "==> installing llmos and what it needs into $(VENV)"
	@$(INSTALL) --quiet hatchling
	@$(INSTALL) --quiet --no-build-isolation --editable '$(1)'
	$(if $(filter skip,$(TORCH)),,@echo "==> installing torch, which measures what the machine costs")
	$(if $(filter skip,$(TORCH)),,@$(INSTALL) torch)
	@touch "$@"
endef

$(VENV)/pyvenv.cfg:
	@"$(PYTHON)" $(OLD_ENOUGH) 2>/dev/null || { \
		echo "llmos needs Python 3.11 or newer, and '$(or $(PYTHON),python3)' is not that."; \
		echo "Install it, or say where it is: make PYTHON=/path/to/python3"; exit 1; }
	@echo "==> making a virtual environment in $(VENV)"
	@"$(PYTHON)" -m venv $(if $(filter skip,$(TORCH)),--system-site-packages) "$(VENV)"
