# Two commands do everything: `make report` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := --disable-pip-version-check install --quiet --no-compile --constraint constraints.txt
PIP := $(BIN)/python -m pip $(PIP_INSTALL)
# uv needs a tenth of pip's time; pip steps in where uv does not run or does not see its settings.
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt \
	--editable $(1) || { $(WITH_PIP) && $(PIP) --editable $(1); }
# An environment whose making was killed has neither.
WITH_PIP := { $(BIN)/python -c 'import pip' 2>/dev/null || $(BIN)/python -m ensurepip; }
# Bytecode by all cores, without tests and without large packages that are hardly imported.
NOT_COMPILED := tests?|dask|debugpy|distributed|fontTools|jedi|mypyc?|networkx|pip|pygments
BYTECODE := $(BIN)/python -m compileall -qq -j 0 -x \
	'[/\\]($(NOT_COMPILED)|setuptools|sklearn)[/\\]' $(VENV)/lib || true
SIZE ?= quick
WORKERS ?= -n auto --maxprocesses 8 --dist worksteal
OUT ?= report
# What touches other packages: their lowest versions are tried on these.
BORDER := tests/learning_dynamics/sweeps tests/learning_dynamics/training \
	$(addprefix tests/learning_dynamics/test_, array_files.py cli.py claims.py comparison.py \
	figures.py files.py images_bundled.py images_files.py netcdf.py optimisers.py plugins.py \
	report.py testing.py) \
	tests/learning_dynamics/kernel/test_checkpoints.py

.PHONY: help report test test-slow test-versions test-lowest test-newest lint format types bench
.PHONY: docs figures gallery clean

.DELETE_ON_ERROR:

help:
	@echo "make report   install, run every claim (SIZE=quick|full, OUT=DIR), write the page"
	@echo "make test     install, run the fast tests        make test-slow   the long ones"
	@echo "make test-versions   with the lowest and with the newest versions allowed (test-lowest,"
	@echo "              test-newest: one of them), the tests that touch other packages"
	@echo "make lint     linter, formatting and types       make format      mend both"
	@echo "make bench    benchmarks                         make docs        documentation"
	@echo "make gallery  take a report (OUT=DIR) into the documentation's page of claims"
	@echo "make clean    remove everything made here"

$(VENV)/bin/python:
	$(PYTHON) -m venv --without-pip $(VENV)
	@$(PYTHON) -m pip --python $@ $(PIP_INSTALL) pip uv || $@ -m ensurepip

$(VENV)/.package: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(call INSTALL,.)
	@$(BYTECODE)
	@touch $@

$(VENV)/.development: $(VENV)/.package
	$(call INSTALL,'.[dev]')
	@$(BYTECODE)
	@touch $@

$(VENV)/.docs: $(VENV)/.package
	$(call INSTALL,'.[docs]')
	@$(BYTECODE)
	@touch $@

$(VENV)/.bench: $(VENV)/.package
	$(call INSTALL,'.[dask]' torch==2.13.0 numba)
	@$(BYTECODE)
	@touch $@

report: $(VENV)/.package
	$(BIN)/learning-dynamics report --size $(SIZE) --out $(OUT) --compiled $(VENV)/compiled

test: $(VENV)/.development
	$(BIN)/python -m pytest $(WORKERS) -m "not slow"

test-slow: $(VENV)/.development
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(BIN)/python -m pytest $(WORKERS) -m slow

# Newest and lowest versions that pyproject.toml allows, each in an environment of its own.
.venv-%/.tests: pyproject.toml
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip --disable-pip-version-check install --quiet \
		--constraint constraints.txt uv
	.venv-$*/bin/uv pip install --quiet --python .venv-$*/bin/python \
		--resolution $(if $(filter lowest,$*),lowest-direct,highest) --editable '.[dev,dask,slurm]'
	@touch $@

test-versions: test-lowest test-newest

test-lowest test-newest: test-%: .venv-%/.tests
	.venv-$*/bin/python -m pytest $(WORKERS) -m "not slow" $(BORDER)

lint: $(VENV)/.development types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.development
	$(BIN)/mypy

format: $(VENV)/.development
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.linear_diffusion
	$(BIN)/python -m benchmarks.kernel
	$(BIN)/python -m benchmarks.sweep
	$(BIN)/python -m benchmarks.networks

docs: $(VENV)/.docs
	$(BIN)/python docs/_ext/example_runs.py
	$(BIN)/sphinx-build -j auto --fail-on-warning --keep-going -d docs/_build/doctrees docs \
		docs/_build/html
	$(BIN)/python docs/_ext/check_pages.py docs/_build/html
	@echo "open docs/_build/html/index.html"

figures: $(VENV)/.package
	cd docs/_static && ../../$(BIN)/python ../examples/ten_lines.py

gallery: $(VENV)/.package
	$(BIN)/python docs/_ext/make_gallery.py $(OUT)

clean:
	rm -rf $(VENV) .venv-lowest .venv-newest report docs/_build docs/api .pytest_cache .mypy_cache .ruff_cache
