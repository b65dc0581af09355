# What each command does: README.md. All are run again at any time, ask nothing and need nothing but make, git
# and python3 to begin with.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

# Only ours counts, whatever the caller's shell has set.
$(foreach name,$(filter ANSIBLE_% PYTEST_% MYPY% RUFF_% YAMLLINT_%,$(.VARIABLES)),$(eval unexport $(name)))
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PYTHONDONTWRITEBYTECODE := 1
export LC_ALL := C.UTF-8
export HOME := $(shell if [ -d "$$HOME" ] && [ -w "$$HOME" ]; then echo "$$HOME"; else mkdir -p .cache/home && echo "$$PWD/.cache/home"; fi)

BIN := .venv/bin
PYTEST := PYTHONPATH=.dev $(BIN)/python -m pytest

.PHONY: help
help:
	@echo 'make site | test | lab-up | lab-down | lab-info | lint | sanity | unit | integration [ONLY=topic] | build | clean'

.PHONY: venv venv-peer
venv:
	@tests/run/venv.sh .venv tests/requirements.txt

venv-peer:
	@tests/run/venv.sh .venv-peer tests/requirements-peer.txt

.PHONY: unit
unit: venv
	@$(PYTEST) tests/unit
