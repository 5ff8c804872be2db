# The commands that a person types; each one makes the environment that it needs.

PYTHON ?= python3
VENV ?= .venv
DEMO ?= usid-demo
INSTALL = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES := $(shell find usid_tasks flows configs -name '*.py' -o -name '*.yaml')
# an editable install serves everything; without one the package is installed as a user has it
INSTALLED = $(if $(wildcard $(VENV)/.installed-test),$(VENV)/.installed-test,$(VENV)/.installed)

.DEFAULT_GOAL := help
.PHONY: help demo test slow check picture rules clean

help:
	@echo "make demo      make sample files, convert them, show what to open ($(DEMO))"
	@echo "make test      run the tests"
	@echo "make slow      run the slow tests: servers, clusters, long runs"
	@echo "make check     formatting, lint, types, spelling"
	@echo "make picture   draw docs/picture.png anew"
	@echo "make rules     write docs/rules.md anew"
	@echo "make clean     remove the environments"

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt $(SOURCES) | $(VENV)/bin/python
	$(INSTALL) .
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable ".[test,bench]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable ".[test,dev,bench]"
	@touch $@ $(VENV)/.installed-test

demo: $(INSTALLED)
	$(VENV)/bin/usid demo $(DEMO)

test: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest --numprocesses auto $(ARGS)

slow: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest -m slow --numprocesses 2 $(ARGS)

check: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	git ls-files -z | xargs -0 $(VENV)/bin/codespell --ignore-words-list ot

picture: demo
	cp $(DEMO)/overview.png docs/picture.png

rules: $(INSTALLED)
	$(VENV)/bin/usid rules --markdown > docs/rules.md

clean:
	rm -rf $(VENV)
