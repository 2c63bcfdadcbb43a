# make env | demo | test | test-faults | bench | peers | peers-references | slurm | browser      (.venv is made where missing)
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: env demo test test-faults bench peers peers-references slurm browser clean

env: $(STAMP)

# torch first and by its exact version: a range would bring gigabytes of CUDA libraries.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "equilaw needs Python 3.11 or later; found $$($(PYTHON) -V). Try make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,groups]"
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
	$(PY) -m benchmarks.analysis --out build/bench-analysis.json
	OMP_NUM_THREADS=1 $(PY) -m benchmarks --out build/bench.json --also build/bench-analysis.json

# The packages to compare with, each in an environment of its own: they need different versions of e3nn.
PEERS := .venv-peers-mace/.installed .venv-peers-nequip/.installed

peers: $(PEERS)

.venv-peers-%/.installed: tests/peers/%-constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "equilaw needs Python 3.11 or later; found $$($(PYTHON) -V). Try make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $< "$$(grep '^torch==' $<)"
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $< safetensors setuptools "$$(grep -E '^(mace-torch|nequip)==' $<)"
	touch $@

peers-references: $(PEERS)
	PYTHONPATH=. TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 .venv-peers-mace/bin/python tests/peers/mace_references.py
	.venv-peers-nequip/bin/python tests/peers/nequip_references.py

# For a cluster on this machine (python -m slurm cluster up). Debian starts munge's service, which nothing here uses.
SLURM_PACKAGES := slurm-wlm munge slurmdbd slurm-wlm-mysql-plugin mariadb-server-core mariadb-client-core
SUDO := $(shell test "$$(id -u)" -eq 0 || echo sudo)

slurm:
	@command -v apt-get >/dev/null || { echo "make slurm installs Debian packages ($(SLURM_PACKAGES)) and finds no apt-get here"; exit 1; }
	@dpkg --status $(SLURM_PACKAGES) >/dev/null 2>&1 || { $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(SLURM_PACKAGES); }

# For the tests of the report, which skip without it (Debian and its kin).
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver; }

clean:
	rm -rf build
