# make env | demo | settings | quick | test | test-long | test-faults | coverage | selections | constraints | bench |
#      parity | results | gpu-check | peers | peers-references | slurm | browser      (.venv is made where missing)
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: env demo settings lint quick test test-long test-faults coverage selections constraints bench parity results gpu-check peers peers-references slurm browser clean

env: $(STAMP)

# torch first and by its exact version: a range would bring gigabytes of CUDA libraries.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "equilaw needs Python 3.11 or later; found $$($(PYTHON) -V). Try make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,groups,optuna]"
	touch $@

demo: env
	$(PY) -m experiments +sweep=demo
	$(PY) -m analysis table --store build/demo/store --csv build/demo/runs.csv
	$(PY) -m analysis fit --table build/demo/runs.csv --json build/demo/fits.json
	$(PY) -m analysis figures --table build/demo/runs.csv --out build/demo
	$(PY) -m analysis claim --table build/demo/runs.csv --json build/demo/claim.json
	$(PY) -m analysis report --store build/demo/store --out build/demo/report.html

# Files that repeat the declared settings: conf/, docs/settings.md, docs/schema.
settings: env
	$(PY) -m slurm.generate

lint: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# While working (under two minutes once mypy has its cache), before a commit, and what takes over a minute a piece.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest
QUICK_TESTS := -m "not slow and not long and not faults"
quick: lint
	$(PYTEST) -n 2 --dist worksteal $(QUICK_TESTS) $(ARGS)

test: lint
	$(PYTEST) -n 2 --dist worksteal -m "not long and not faults" $(ARGS)

test-long: env
	$(PYTEST) -n 2 --dist worksteal -m "long and not faults" $(ARGS)

test-faults: env
	$(PYTEST) -m "faults" $(ARGS)

# Lines of our own code that the quick tests reach.
coverage: env
	$(PYTEST) --cov --cov-report term:skip-covered --cov-report html:build/coverage $(QUICK_TESTS) $(ARGS)

# Which tests are slow (tests/selections.py): measured one after another, an hour or two.
selections: env
	mkdir -p build && rm -f build/costs.jsonl
	-$(PYTEST) --record-costs build/costs.jsonl -m "not faults" $(ARGS)
	$(PY) -m tests.selections build/costs.jsonl

# constraints.txt anew from pyproject.toml. Pins that still fit stay; ARGS=--upgrade raises them all but torch, whose
# version is changed by hand. torch's own pins of CUDA's libraries are left to torch, for they depend on where it comes from.
constraints:
	mkdir -p build
	test -x build/pip-tools/bin/pip-compile || $(PYTHON) -m venv build/pip-tools
	build/pip-tools/bin/pip install --quiet --disable-pip-version-check pip-tools
	grep '^torch==' constraints.txt > build/torch.txt
	cp constraints.txt build/constraints.txt
	build/pip-tools/bin/pip-compile --quiet --no-header --no-annotate --strip-extras --no-emit-options \
		--constraint build/torch.txt --output-file build/constraints.txt \
		--extra dev --extra groups --extra jets --extra optuna $(ARGS) pyproject.toml
	{ echo "# Exact versions of everything (make constraints); make env installs with these."; \
		sed -E -e 's/\+[a-z0-9.]+$$//' -e '/^(#|$$|nvidia-|cuda-|triton)/d' build/constraints.txt; } > constraints.txt

bench: env
	OMP_NUM_THREADS=1 $(PY) -m benchmarks --out build/bench.json

# Errors beside published ones, on the same frames (docs/parity.md). ARGS=--small, or the names of rows.
parity: env
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.parity $(ARGS)

# What docs/results lacks, and its pages. ARGS=--list says with how many core hours; ARGS="claim --later", names of
# sections, …; QUICK=1: reduced grids on data that come along, into build/results/quick.
results: env
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.results $(if $(QUICK),--quick) $(ARGS)

# On a machine with a GPU: is training correct there, and how fast? ARGS="--minutes 4", "--device cpu", …
gpu-check: env
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.gpu_check --out build/gpu_check.json $(ARGS)

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
