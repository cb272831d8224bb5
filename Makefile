# For everybody: `make serve` and `make test`. For contributors: `make check` runs the whole gate.
PYTHON ?= python3
PORT ?= 8000
STAGE ?= prod
VENV := .venv
BIN := $(VENV)/bin
SERVES := $(VENV)/serves
READY := $(VENV)/ready
PRODUCTION := .venv-production
BENCH := .venv-bench
JS := tests/js/node_modules

.PHONY: help serve serve-production test check check-rest js format lint types docs readme audit package bench \
	clean

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

# Serving needs 120 MB of packages, and testing 790. So the first `make serve` takes less time.
$(SERVES): requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt \
		$$(grep ^chalice= requirements-dev.txt)
	touch $@

$(READY): $(SERVES) $(wildcard deploy/requirements-*.txt)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

serve: $(SERVES)  ## serve on http://localhost:8000 (PORT=… for another port)
	$(BIN)/chalice local --no-autoreload --port $(PORT)

$(PRODUCTION)/ready: requirements.txt $(wildcard deploy/requirements-*.txt)
	$(PYTHON) -m venv $(PRODUCTION)
	$(PRODUCTION)/bin/pip install --quiet --disable-pip-version-check -r deploy/requirements-production.txt
	touch $@

serve-production: export PORT := $(PORT)
serve-production: $(PRODUCTION)/ready  ## serve with gunicorn, keys required (PORT, WORKERS)
	$(PRODUCTION)/bin/gunicorn --config deploy/gunicorn.conf.py

test: $(READY)  ## run all tests but those that take long or need a system package
	$(BIN)/pytest -m "not system" -n auto --maxprocesses 4 --dist loadfile

check: test check-rest  ## run the whole gate, as CI does

check-rest: lint types docs audit package $(JS)/ready  # the part that `test` leaves out; it writes build/shots/
	$(BIN)/pytest -m system

# npm has certificates of its own. A machine behind a proxy has further ones.
export NODE_EXTRA_CA_CERTS ?= $(wildcard /etc/ssl/certs/ca-certificates.crt)

# The AI SDK's and OpenAI's clients, which some of these tests run in Node.
$(JS)/ready: tests/js/package.json
	npm --prefix tests/js install --no-package-lock --no-audit --no-fund --loglevel=error
	touch $@

js: $(JS)/ready

format: $(READY)  ## put the code into its one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

docs: $(READY)  ## check that the generated parts of README are up to date
	$(BIN)/cog -P --check --check-fail-msg "Run: make readme" -r README.md

readme: $(READY)  ## write the generated parts of README, and the examples of the document
	$(BIN)/cog -P -r README.md
	$(BIN)/python -m tests.support.examples

# Of what runs in production, without pip itself. It asks PyPI. A mirror may have no advisories: then it
# says of each package that it could not be audited. Python's client has certificates of its own.
audit: export REQUESTS_CA_BUNDLE ?= $(wildcard /etc/ssl/certs/ca-certificates.crt)
audit: $(READY) $(PRODUCTION)/ready  ## look for packages with known vulnerabilities
	mkdir -p build
	$(PRODUCTION)/bin/pip freeze --quiet --disable-pip-version-check > build/production.txt
	if $(BIN)/python -c "import requests; requests.head('https://pypi.org', timeout=20)" 2>build/audit.log; \
	then $(BIN)/pip-audit --disable-pip --no-deps --progress-spinner off -r build/production.txt; \
	else tail -n 1 build/audit.log; echo "PyPI cannot be asked from here, so nothing was audited."; fi

package: $(READY)  ## write build/deployment.zip and its templates (STAGE=prod, efs or postgres)
	$(BIN)/python -m deploy.package --stage $(STAGE)

$(BENCH)/ready: requirements.txt bench/requirements.txt bench/twin/requirements.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	touch $@

bench: $(BENCH)/ready  ## measure everything and write bench/results.md (BENCH_FLAGS=--quick takes a minute)
	$(BENCH)/bin/python -m bench $(BENCH_FLAGS)

clean:  ## remove everything that make has made
	rm -rf $(VENV) $(PRODUCTION) $(BENCH) $(JS) build .chalice/deployments .mypy_cache .pytest_cache .ruff_cache .hypothesis
