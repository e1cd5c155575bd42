# Bare make lists the targets.
PYTHON ?= python3
VENV = .venv
TOOLS = $(VENV)/tools
PREFIX ?= /usr/local
COMMANDS = $(filter-out ostream,$(notdir $(wildcard bin/*)))
INTO = $(DESTDIR)$(PREFIX)

help:
	@sed -n 's/^\([a-z.]*\):.*## /\1\t/p' Makefile | expand -t 13

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

torture: $(TOOLS) ## every fault against every way to ask; makes docs/torture.md
	$(VENV)/bin/python -m tests.torture

kill: $(TOOLS) ## kill batch a thousand times, and see that nothing is lost
	KILLS=1000 $(VENV)/bin/python -m pytest -q tests/commands/test_batch_resume.py -k killed

bench: ## compare with curl, jq and other clients; takes long, and makes docs/benchmarks.md
	$(PYTHON) benchmarks/compare.py

picture: $(TOOLS) ## run the demo on a terminal and draw it: docs/demo.svg
	$(VENV)/bin/python scripts/picture.py

spark: .spark/tools ## answer a thousand requests in a Spark job; fetches Spark, 400 MB, and needs java
	.spark/bin/python -m pytest -q tests/spark.py

format: $(TOOLS) ## put the sources into the house style
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

ostream.pyz: scripts/pyz.py bin/ostream LICENSE $(wildcard ostream/*.py ostream/*/*.py) ## the whole program as one file
	$(PYTHON) scripts/pyz.py $@

release: $(TOOLS) ## see that this commit is fit to be released, and fill dist; publishes nothing
	scripts/release.sh "$(CURDIR)/$(VENV)/bin/python"

man: ## the manual, in build/man
	$(PYTHON) scripts/manual.py build/man

# The package with its bytecode, and only one name on PATH: ostream --install links the others.
install: uninstall ## into PREFIX (/usr/local), below DESTDIR
	mkdir -p "$(INTO)/lib/ostream/bin" "$(INTO)/bin"
	install -m 755 bin/ostream "$(INTO)/lib/ostream/bin/ostream"
	for folder in $(dir $(wildcard ostream/__init__.py ostream/*/__init__.py)); do \
		mkdir -p "$(INTO)/lib/ostream/$$folder" && install -m 644 $$folder*.py "$(INTO)/lib/ostream/$$folder" || exit; \
	done
	$(PYTHON) -m compileall -q -d "$(PREFIX)/lib/ostream" "$(INTO)/lib/ostream"
	ln -s ../lib/ostream/bin/ostream "$(INTO)/bin/ostream"
	$(PYTHON) scripts/manual.py "$(INTO)/share/man"
	mkdir -p "$(INTO)/share/bash-completion/completions" "$(INTO)/share/zsh/site-functions" \
		"$(INTO)/share/fish/vendor_completions.d"
	$(PYTHON) -m ostream --completion bash > "$(INTO)/share/bash-completion/completions/ostream"
	$(PYTHON) -m ostream --completion zsh > "$(INTO)/share/zsh/site-functions/_ostream"
	$(PYTHON) -m ostream --completion fish > "$(INTO)/share/fish/vendor_completions.d/ostream.fish"

uninstall: ## take it out again
	rm -rf "$(INTO)/lib/ostream"
	rm -f $(foreach command,$(COMMANDS),"$(INTO)/share/man/man1/ostream-$(command).1") \
		"$(INTO)/share/man/man1/ostream.1" "$(INTO)/share/man/man7/ostream.7" \
		"$(INTO)/share/bash-completion/completions/ostream" "$(INTO)/share/zsh/site-functions/_ostream" \
		"$(INTO)/share/fish/vendor_completions.d/ostream.fish"
	if [ "$$(readlink "$(INTO)/bin/ostream")" = ../lib/ostream/bin/ostream ]; then rm "$(INTO)/bin/ostream"; fi

clean: ## remove what the other targets made
	rm -rf $(VENV) .spark .bench .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist ostream.pyz
	find . -name __pycache__ -prune -exec rm -rf {} +

$(TOOLS): tests/requirements.txt tests/requirements-run.txt tests/bootstrap.py
	$(PYTHON) tests/bootstrap.py $(VENV) tests/requirements.txt
	@touch $(TOOLS)

.spark/tools: tests/requirements-spark.txt tests/bootstrap.py
	$(PYTHON) tests/bootstrap.py .spark tests/requirements-spark.txt
	@touch .spark/tools

.PHONY: help demo test fuzz check lint cover torture kill bench picture spark format release man install uninstall clean
