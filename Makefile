# make env | demo | test | test-faults | bench | browser      (.venv is made where it is missing)
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: env demo test test-faults bench browser clean

env: $(STAMP)

# torch first and by its exact version: a range would bring gigabytes of CUDA libraries.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "equilaw needs Python 3.11 or later; found $$($(PYTHON) -V). Try make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: env
	$(PY) -m experiments +sweep=demo
	$(PY) -m analysis table --store build/demo/runs --csv build/demo/runs.csv
	$(PY) -m analysis fit --table build/demo/runs.csv --json build/demo/fits.json
	$(PY) -m analysis figures --table build/demo/runs.csv --out build/demo

test: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal -m "not faults" $(ARGS)

test-faults: env
	OMP_NUM_THREADS=1 $(PY) -m pytest -m faults $(ARGS)

bench: env
	$(PY) -m analysis.bench --out build/bench-analysis.json
	OMP_NUM_THREADS=1 $(PY) -m experiments.bench --out build/bench.json --also build/bench-analysis.json

# For the tests of the report, which skip without it (Debian and its kin; needs root).
browser:
	command -v chromium >/dev/null && command -v chromedriver >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver; }

clean:
	rm -rf build
