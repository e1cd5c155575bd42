# make without a target lists the targets.
PYTHON ?= python3
VENV = .venv
PYTEST = $(VENV)/bin/python -m pytest -q
PREFIX ?= /usr/local
COMMANDS = $(filter-out ostream,$(notdir $(wildcard bin/*)))
# In the environment, so that recipes can use paths with quotes.
export PREFIX
export INTO = $(DESTDIR)$(PREFIX)

help:
	@sed -n 's/^\([a-z.-]*\):.*## /\1\t/p' Makefile | expand -t 13

demo: ## run examples against recorded responses; needs only python3
	@sh examples/demo.sh

test: $(VENV)/test-tools ## run the tests (two minutes); every promise is tested once
	@echo "Running the tests: about two minutes on two cores. ('make check' runs all of them, and the checkers.)"
	$(PYTEST) -n auto $(ARGS)

check: lint cover ## run format, lint and type checks, and all tests with branch coverage (10 minutes)

lint: $(VENV)/check-tools
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

cover: $(VENV)/check-tools
	$(VENV)/bin/coverage erase
	$(VENV)/bin/coverage run -m pytest -q --full -n auto $(ARGS)
	$(VENV)/bin/coverage combine -q
	$(VENV)/bin/coverage report --fail-under=100

xnu: $(VENV)/test-tools ## run the tests as on macOS, simulated: the poll() of XNU, nothing that only Linux has
	PYTHONPATH=$(CURDIR)/tests/shims/xnu $(PYTEST) -n auto $(ARGS)

fuzz: $(VENV)/test-tools ## run the property tests with 1,000 examples each
	$(PYTEST) -n auto tests/fuzz --full --hypothesis-profile=fuzz $(ARGS)

kill: $(VENV)/test-tools ## kill a batch 1,000 times and check that no answer is lost
	KILLS=1000 $(PYTEST) tests/commands/test_batch_resume.py --full -k killed $(ARGS)

fault-matrix: $(VENV)/check-tools ## run the complete fault matrix and write docs/fault-matrix.md
	$(VENV)/bin/python -m tests.fault_matrix

bench: ## compare with curl | jq and other clients, and print the tables (10 minutes)
	$(PYTHON) benchmarks/compare.py

picture: $(VENV)/check-tools ## run the demo on a terminal and draw docs/demo.svg
	$(VENV)/bin/python scripts/picture.py

spark: .spark/tools ## test the Spark example; needs Java, downloads 400 MB
	.spark/bin/python -m pytest -q tests/spark.py

format: $(VENV)/check-tools ## format the sources
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

ostream.pyz: scripts/pyz.py bin/ostream LICENSE $(wildcard ostream/*.py ostream/*/*.py ostream/installer/completion.*) ## build a single executable that runs without the checkout
	$(PYTHON) scripts/pyz.py $@

release: $(VENV)/check-tools ## check this commit and build the files to publish in dist/; publishes nothing
	scripts/release.sh "$(CURDIR)/$(VENV)/bin/python"

man: ## write the manual pages to build/man
	$(PYTHON) scripts/manual.py build/man

# Installs the package with its bytecode, the manual, completion, and links for the commands.
install: uninstall ## install into $(DESTDIR)$(PREFIX) (default PREFIX: /usr/local; LINKS=no: only the command ostream)
	@mkdir -p "$$INTO/lib/ostream/bin" "$$INTO/bin"
	@ln -s ../lib/ostream/bin/ostream "$$INTO/bin/ostream"
	@install -m 755 bin/ostream "$$INTO/lib/ostream/bin/ostream"
	@for folder in $(dir $(wildcard ostream/__init__.py ostream/*/__init__.py)); do \
		mkdir -p "$$INTO/lib/ostream/$$folder" && install -m 644 $$folder*.py "$$INTO/lib/ostream/$$folder" || exit; \
	done
	@install -m 644 ostream/installer/completion.*sh "$$INTO/lib/ostream/ostream/installer"
	@$(PYTHON) -m compileall -q -d "$$PREFIX/lib/ostream" "$$INTO/lib/ostream"
	@$(PYTHON) scripts/manual.py "$$INTO/share/man"
	@mkdir -p "$$INTO/share/bash-completion/completions" "$$INTO/share/zsh/site-functions" \
		"$$INTO/share/fish/vendor_completions.d"
	@$(PYTHON) -m ostream --completion bash > "$$INTO/share/bash-completion/completions/ostream"
	@$(PYTHON) -m ostream --completion zsh > "$$INTO/share/zsh/site-functions/_ostream"
	@$(PYTHON) -m ostream --completion fish > "$$INTO/share/fish/vendor_completions.d/ostream.fish"
ifneq ($(LINKS),no)
	@for name in $(COMMANDS); do \
		ln -sf ostream "$$INTO/share/bash-completion/completions/$$name" && \
		ln -sf ostream.fish "$$INTO/share/fish/vendor_completions.d/$$name.fish" || exit; \
	done
endif
	@echo "installed ostream, its manual (man ostream-send) and completion in $$INTO"
ifneq ($(LINKS),no)
	@$(PYTHON) "$$INTO/bin/ostream" --install "$$INTO/bin" $(if $(DESTDIR),> /dev/null) || \
		{ echo "ostream is installed; to install no other command, run: make install LINKS=no"; exit 1; }
else
	@echo "next: ostream send -m MODEL 'Why is the sky blue?' | ostream extract-content"
endif

uninstall: ## remove what make install installed
	@case $$PREFIX in /*) ;; *) echo "PREFIX must be an absolute path, not $$PREFIX" >&2; exit 2 ;; esac
	@for name in $(COMMANDS); do \
		if [ "$$(readlink "$$INTO/bin/$$name")" = ostream ]; then rm "$$INTO/bin/$$name"; fi; \
		rm -f "$$INTO/share/man/man1/ostream-$$name.1"; \
		for link in "$$INTO/share/bash-completion/completions/$$name" "$$INTO/share/fish/vendor_completions.d/$$name.fish"; do \
			case $$(readlink "$$link") in ostream | ostream.fish) rm "$$link" ;; esac; \
		done; \
	done
	@if [ "$$(readlink "$$INTO/bin/ostream")" = ../lib/ostream/bin/ostream ]; then rm "$$INTO/bin/ostream"; fi
	@rm -rf "$$INTO/lib/ostream"
	@rm -f "$$INTO/share/man/man1/ostream.1" "$$INTO/share/man/man7/ostream.7" \
		"$$INTO/share/bash-completion/completions/ostream" "$$INTO/share/zsh/site-functions/_ostream" \
		"$$INTO/share/fish/vendor_completions.d/ostream.fish"

clean: ## remove all generated files
	rm -rf $(VENV) .spark .bench .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist ostream.pyz
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/test-tools: tests/requirements.txt
	@$(PYTHON) tests/bootstrap.py $(VENV) $< "pytest, pytest-xdist and hypothesis (50 MB, about 15 s)"
	@touch $@

$(VENV)/check-tools: tests/requirements-check.txt $(VENV)/test-tools
	@$(PYTHON) tests/bootstrap.py $(VENV) $< "the checkers, build tools and the official SDK (500 MB)"
	@touch $@

.spark/tools: tests/requirements-spark.txt
	@$(PYTHON) tests/bootstrap.py .spark $< "pyspark (400 MB)"
	@touch $@

.PHONY: help demo test xnu fuzz check lint cover fault-matrix kill bench picture spark format release man install uninstall clean
