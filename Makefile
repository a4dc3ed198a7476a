# The commands of this repository. On a machine with Python 3.11 to 3.13 and make, each does its own set-up.
#
#   make demo      ingest, search and report on real photos, in three processes on this machine
#   make test      the whole test suite; as root on Debian it installs the servers that tests run
#   make check     style, types, import contracts, protocol lint
#   make deploy-test   images and compose file for real: builds, runs, breaks; needs Docker, or root to start it
#   make bench     the measurements that the README quotes: make bench SIZE=1000000
#   make install   the environment in .venv, with the `blindsight` command in .venv/bin
#   make dist      sources and wheels of all distributions, in dist/
#   make release   these, what each image is made of (SBOM, CycloneDX), and NOTICE with all licences, in dist/
#   make lock      the locks after a change of dependencies: UPGRADE=1 takes the newest versions of all
#
# Another Python: make install PYTHON=python3.12

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install stubs demo prepared test deploy-test check lock dist release bench clean

PYTHON ?=
SIZE ?= 100000
DIMENSION ?= 128
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCH_INSTALLED := $(VENV)/.installed-bench
# Tests wait for servers a third of their time.  In the order of their folders, the short ones come last.
TEST_PROCESSES := $(shell cores=$$(nproc); echo $$((cores < 4 ? cores + 1 : 4)))
CONTRACTS := $(shell find protos -type d -o -name '*.proto' 2>/dev/null) protos/hatch_build.py
# The distributions beside the root's, each in its folder.
PARTS := protos blindsight blindsight/trusted $(sort $(patsubst %/,%,$(dir $(wildcard services/*/pyproject.toml))))
PYPROJECTS := pyproject.toml $(addsuffix /pyproject.toml,$(PARTS))
# A lock names what others publish: our own distributions are installed from this tree.
UV_COMPILE = UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet $(if $(UPGRADE),--upgrade) --universal \
	--python $(BIN)/python --no-build-isolation --python-version 3.11 --fork-strategy fewest --generate-hashes --no-header \
	$(shell sed -n 's/^name = "\(blindsight-.*\)"/--no-emit-package \1/p' $(PYPROJECTS))
CONSTRAINED = $(UV_COMPILE) --constraint requirements/dev.lock --output-file requirements
# What a build without isolation needs to be there: for images.
BUILD_REQUIRES := $(BIN)/python -c 'import tomllib; \
	print(*tomllib.load(open("protos/pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")'

# PYTHON of another version than the environment's: make it anew.
VERSION := -c 'import sys; print(sys.version_info[:2])'
ifneq ($(PYTHON),)
ifneq ($(shell $(PYTHON) $(VERSION) 2>/dev/null),$(shell $(BIN)/python $(VERSION) 2>/dev/null))
.PHONY: $(INSTALLED)
endif
endif

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests and demo start processes by the hundred: what these import is compiled once.
unexport PYTHONDONTWRITEBYTECODE

help:
	@sed -n '3,13s/^# \{0,1\}//p' Makefile

install: $(INSTALLED)

# Everything in the lock, hash by hash; then this project itself, which makes the stubs on the way.
$(INSTALLED): $(PYPROJECTS) requirements/dev.lock $(CONTRACTS)
	@PYTHON='$(PYTHON)' tools/make-venv $(VENV)
	@tools/pip-install $(BIN)/python requirements/dev.lock
	@echo "Installing blindsight and generating its stubs ..."
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation $(addprefix --editable ./,. $(PARTS))
	@touch $@
	@echo "Ready: $(BIN)/blindsight"

$(BENCH_INSTALLED): $(INSTALLED) requirements/bench.lock
	@tools/pip-install $(BIN)/python requirements/bench.lock
	@touch $@

stubs: $(INSTALLED)
	@$(BIN)/python protos/hatch_build.py

demo: $(INSTALLED)
	@$(BIN)/python -m demo

# What tests need beside the environment: servers, and the compiled code that services load.
prepared: $(INSTALLED)
	@tools/test-servers tests/servers.list
	@echo "Compiling (half a minute, the first time) ..."
	@$(BIN)/python -P tests/support/template.py

test: prepared
	@$(BIN)/python -m pytest tests --numprocesses=$(TEST_PROCESSES) --dist=loadfile --no-loadscope-reorder

# Minutes; what cannot run here is said loudly, and is no failure.
deploy-test: $(INSTALLED)
	@docker info >/dev/null 2>&1 || tools/test-servers tests/deploy/live/servers.list
	@$(BIN)/python tests/deploy/live

# All of it runs, so that one run names every fault; the end says what failed.
check: $(INSTALLED)
	@tools/check $(BIN)

lock: $(INSTALLED)
	@echo "Resolving the locks ..."
	@$(UV_COMPILE) pyproject.toml --group dev --output-file requirements/dev.lock
	@$(CONSTRAINED)/bench.lock pyproject.toml --group bench
	@$(CONSTRAINED)/keyholder.lock services/keyholder/pyproject.toml --group services/keyholder/pyproject.toml:image
	@$(CONSTRAINED)/worker.lock services/worker/pyproject.toml --group services/worker/pyproject.toml:image
	@$(CONSTRAINED)/evaluator.lock services/evaluator/pyproject.toml
	@$(CONSTRAINED)/storage.lock services/storage/pyproject.toml
	@$(BUILD_REQUIRES) | $(CONSTRAINED)/build.lock -
	@sed -i '/^#/d; /^$$/d' requirements/*.lock # what was left out, in no order
	@! grep -nE '://|^--|file:|/(home|root|tmp|opt|usr)/' requirements/*.lock \
		|| { echo "a lock holds an address or a path" >&2; exit 1; }

# Each wheel is built from its own source distribution, which so is known to be whole.
dist: $(INSTALLED)
	@rm -rf dist
	@$(BIN)/uv build --quiet --all-packages --no-build-isolation --offline --python $(BIN)/python --out-dir dist
	@ls dist/*.whl

release: dist
	@tools/release $(BIN) dist
	@ls dist/*.cdx.json dist/NOTICE

# On a machine with nothing else to do; a million vectors take some minutes, 6 GB of memory and 4 GB of disk.
bench: $(BENCH_INSTALLED)
	@$(BIN)/python bench/kernel.py --size $(SIZE) --dimension $(DIMENSION)
	@$(BIN)/python bench/append.py
	@$(BIN)/python bench/search.py --size $(SIZE) --dimension $(DIMENSION)
	@$(BIN)/python bench/schemes.py --dimension $(DIMENSION)
	@$(BIN)/python bench/imaging.py

clean:
	rm -rf $(VENV) blindsight/rpc build dist demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
