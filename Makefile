# The two commands of the README; both set up everything they need in .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

MINUTES ?= 10
SEED ?= 1

.PHONY: demo test check steps unit integration soak format generate constraints clean

demo: $(INSTALLED)  ## a sandbox account, a full sync into DuckDB, what was loaded and three queries
	$(BIN)/python pipelines/klaviyo_demo.py

test: check steps  ## format, lint, types and every test but those of `make integration`
	$(BIN)/pytest

check: $(INSTALLED)
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy

steps: $(INSTALLED)  ## what is missing of an endpoint or a report, before a hundred other tests fail of it
	$(BIN)/pytest -n 0 -x tests/unit/test_every_step_of_an_endpoint.py

unit: steps  ## the tests without a server or a database, in seconds
	$(BIN)/pytest tests/unit

integration: $(INSTALLED)  ## what needs environments of its own: the wheel, `dlt init`, fakesnow
	$(BIN)/pytest -n 1 tests/packaging

soak: $(INSTALLED)  ## random faults, changes and kills, for MINUTES from scenario SEED on; every table is compared
	$(BIN)/python -m tests.kills.soak --minutes $(MINUTES) --seed $(SEED)

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

generate: $(INSTALLED)  ## write again what is made from schemas/ and from the code
	$(BIN)/python -m tools.columns
	$(BIN)/python -m tools.docs

constraints: $(INSTALLED)  ## pin what is installed now
	printf '# The versions that everything here is tested with. Written by: make constraints\n' > constraints.txt
	$(BIN)/pip freeze --exclude-editable | grep -v '@' | sort -f >> constraints.txt

clean:
	rm -rf .venv demo

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --constraint constraints.txt --editable ".[dev]"
	# The SDK of each revision before the installed one's: two of them don't install together.
	$(PIP) --no-deps --upgrade --target .venv/sdk/2026-07-15 klaviyo-api==24.0.0
	touch $(INSTALLED)
