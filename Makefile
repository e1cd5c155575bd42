# Bare make lists the targets.
PYTHON ?= python3
VENV = .venv
TOOLS = $(VENV)/tools

help:
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

demo: ## the main job on recordings of a real server; needs nothing but python3
	@sh examples/demo.sh

test: $(TOOLS) ## run the tests
	$(VENV)/bin/python -m pytest -q $(ARGS)

fuzz: $(TOOLS) ## give the parsers many more inputs than the tests do
	$(VENV)/bin/python -m pytest -q tests/fuzz --hypothesis-profile=fuzz $(ARGS)

check: lint cover ## format, lint, types, tests, branch coverage

lint: $(TOOLS)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

cover: $(TOOLS)
	$(VENV)/bin/coverage erase
	$(VENV)/bin/coverage run -m pytest -q $(ARGS)
	$(VENV)/bin/coverage combine -q
	$(VENV)/bin/coverage report --fail-under=100

bench: $(TOOLS) $(TOOLS) ## every fault against every way to ask; makes docs/torture.md
	$(VENV)/bin/python -m tests.torture

kill: $(TOOLS) ## kill batch a thousand times, and see that nothing is lost
	KILLS=1000 $(VENV)/bin/python -m pytest -q tests/commands/test_batch_resume.py -k killed

format: $(TOOLS) ## put the sources into the house style
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

clean: ## remove what the other targets made
	rm -rf $(VENV) .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

$(TOOLS): tests/requirements.txt tests/requirements-run.txt tests/bootstrap.py
	$(PYTHON) tests/bootstrap.py $(VENV) tests/requirements.txt
	@touch $(TOOLS)

.PHONY: help demo test fuzz check lint cover torture kill format clean
