# Two commands on a fresh machine, each enough by itself: `make check` and `make test`.
# Needed: make, Python >= 3.11 and a package index. Everything lands in .venv and out; `make clean` removes both.
#
#   PYTHON    the Python to build .venv with           make check PYTHON=/opt/python3.12/bin/python3
#   PIP_ARGS  more arguments for pip                   make check PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
#   ARGS      more arguments for pytest                make test ARGS="tests/project -x"

PYTHON   ?= python3
PIP_ARGS ?=
ARGS     ?=

bin   := .venv/bin
ready := .venv/.ready

# Recipe lines that set $$found to the first Python new enough, or say politely that there is none.
# Each candidate is run, not only looked up: a version manager's stand-in may be on the PATH with nothing behind it.
define find_python
found=; \
for candidate in "$(PYTHON)" python3.13 python3.12 python3.11; do \
  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found=$$candidate; break; fi; \
done; \
if [ -z "$$found" ]; then \
  echo "dora_repro needs Python 3.11 or newer; $(PYTHON) is: $$("$(PYTHON)" --version 2>&1 || true)" >&2; \
  echo "Install one, or name it: make check PYTHON=/path/to/python3.12" >&2; \
  exit 1; \
fi
endef

# Python keeps compiled what it has imported once, whatever the calling shell forbids: without, each command takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help check test notebooks lab bench lint docs dist setup constraints clean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 20

check: $(ready) ## set up, then answer the question for the kit's own training: quick, full, notebooks; reports in out/
	@mkdir -p out; rm -rf out/quick.* out/full.* out/notebooks out/notebooks.xml; status=0; notebooks="as expected"; \
	for name in quick full; do \
	  $(bin)/dora-repro $$name --json out/$$name.json --junit out/$$name.xml --html out/$$name.html || status=1; \
	done; \
	$(bin)/dora-repro notebooks --out out/notebooks --junit out/notebooks.xml || { notebooks="not as expected"; status=1; }; \
	echo; \
	for name in quick full; do \
	  verdict=$$($(bin)/python -c 'import json, sys; print(json.load(open(sys.argv[1]))["verdict"])' out/$$name.json 2>/dev/null) \
	    || { verdict="no verdict"; status=1; }; \
	  echo "$$name: $$verdict  (reports: $$(ls out/$$name.* 2>/dev/null | tr '\n' ' '))"; \
	done; \
	echo "notebooks: $$notebooks  (executed: out/notebooks)"; \
	exit $$status

# Two workers, a file each: much of a test is waiting for an interpreter that imports. Notebooks first, being the longest.
# passive: threads of torch that wait sleep, else those of one worker take the cores from the other.
test: $(ready) ## set up, then run the tests, and the notebooks against what they say
	@OMP_WAIT_POLICY=passive $(bin)/python -m pytest -q --durations=10 --nbval --nbval-current-env \
	  $(or $(ARGS),-n 2 --dist loadfile notebooks tests)

notebooks: $(ready) ## run the notebooks and keep what they say in them (then look at the diff)
	@$(bin)/dora-repro notebooks --in-place

lab: $(ready) ## set up, then open the notebooks in JupyterLab, as copies of your own (ARGS="03 --no-browser")
	@$(bin)/dora-repro lab $(ARGS)

lint: $(ready) ## style and likely bugs, notebooks too, and types
	@$(bin)/python -m ruff check
	@$(bin)/python -m mypy

bench: $(ready) ## set up, then measure, for an hour on an idle machine: benchmarks/RESULTS.md (ARGS="--only wall digest")
	@$(bin)/python benchmarks/results.py $(ARGS)

docs: .venv/.docs ## set up, then build the site, warnings being errors: build/docs/html/index.html
	@$(bin)/python -m sphinx -b html -W --keep-going -q docs build/docs/html
	@echo "The site: build/docs/html/index.html"

dist: .venv/.dist ## set up, then build the wheel and the archive of sources, and check what they say of themselves
	@rm -rf dist; $(bin)/python -m build -o dist && $(bin)/python -m twine check --strict dist/*

setup: $(ready) ## only set up .venv

# The stamp is newer than what it was made from, so a second call costs nothing.
# An environment whose Python has gone (an upgrade, a moved folder) is built anew.
# --no-compile: of 1.3 GB little is ever imported, and Python compiles that itself; it saves a minute of two to three.
$(ready): pyproject.toml constraints.txt
	@$(find_python); \
	echo "Setting up .venv with $$found: a minute or three, once."; \
	[ -x $(bin)/python ] && $(bin)/python -m pip --version >/dev/null 2>&1 || "$$found" -m venv --clear .venv
	@$(bin)/python -m pip install --disable-pip-version-check --no-input --no-compile -c constraints.txt $(PIP_ARGS) -e '.[all,test]'
	@touch $@

# What only `make docs` and `make dist` need is installed when one of them is first called.
.venv/.docs .venv/.dist: .venv/.%: $(ready)
	@$(bin)/python -m pip install --disable-pip-version-check --no-input --no-compile -q -c constraints.txt $(PIP_ARGS) -e '.[$*]'
	@touch $@

# Versions that exist for one build of torch or one system only are left out: torch brings its own.
constraints: ## write constraints.txt anew: the newest versions that pyproject.toml allows (then run the tests)
	@$(find_python); "$$found" -m venv --clear build/constraints
	@build/constraints/bin/python -m pip install --disable-pip-version-check --no-input $(PIP_ARGS) -e '.[all,test,docs,dist]'
	@build/constraints/bin/python -m pip freeze --all --exclude pip --exclude-editable > build/frozen.txt
	@{ sed -n '/^#/p' constraints.txt; $(pins) build/frozen.txt; } > build/constraints.txt
	@mv build/constraints.txt constraints.txt; rm -rf build/constraints build/frozen.txt

# Of `pip freeze`: no local suffix (torch==2.13.0+cpu is torch==2.13.0 elsewhere), no CUDA packages.
pins := sed -e 's/+[A-Za-z0-9.]*$$//' -e '/^nvidia-/d' -e '/^cuda-/d' -e '/^triton=/d'

clean: ## remove .venv, out and caches
	rm -rf .venv out build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis docs/notebooks docs/rooms
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
