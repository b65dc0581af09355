# `make help` lists the commands. All can be run again at any time, ask nothing, and need nothing but make, git
# and python3 to begin with.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Only ours counts, whatever the caller's shell has set.
$(foreach name,$(filter ANSIBLE_% HYPOTHESIS_% MYPY% PYTEST_% RUFF_% YAMLLINT_%,$(.VARIABLES)),$(eval unexport $(name)))
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV MAKEFLAGS
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/.cache/hypothesis
export PYTHONDONTWRITEBYTECODE := 1
export LC_ALL := C.UTF-8
export HOME := $(shell home=$${HOME:-}; if [ -d "$$home" ] && [ -w "$$home" ]; then echo "$$home"; \
	else mkdir -p .cache/home && echo "$$PWD/.cache/home"; fi)

PYTHON := .venv/bin/python
PYTEST := PYTHONPATH=.dev $(PYTHON) -m pytest

.PHONY: help
help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: venv
venv: ## the virtual environment in .venv
	@tests/run/venv.sh .venv tests/requirements.txt

.PHONY: venv-peer
venv-peer: ## a second one in .venv-peer, with community.crypto to compare with
	@tests/run/venv.sh .venv-peer tests/requirements-peer.txt

.PHONY: site
site: venv ## starts the lab and takes it from plain HTTP to proved HTTPS
	@tests/run/site.sh

.PHONY: lab-up
lab-up: venv ## starts, repairs or replaces the lab
	@$(PYTHON) tests/lab/lab.py up

.PHONY: lab-down
lab-down: ## stops the lab and wipes its state
	@$(if $(wildcard $(PYTHON)),$(PYTHON),python3) tests/lab/lab.py down

.PHONY: lab-info
lab-info: venv ## prints what is in the lab, as one JSON object
	@$(PYTHON) tests/lab/lab.py info

.PHONY: test
test: venv ## all that CI runs: lint, unit, package, sanity, the lab, integration, faults
	@$(PYTHON) tests/run/suite.py

.PHONY: test-full
test-full: venv ## the same, plus what takes long
	@$(PYTHON) tests/run/suite.py --full

.PHONY: lint
lint: venv ## ruff, mypy, ansible-lint (production), antsibull-changelog
	@tests/run/lint.sh

.PHONY: format
format: venv ## puts Python files into the form that lint wants
	@.venv/bin/ruff check --quiet --select I --fix && .venv/bin/ruff format

.PHONY: sanity
sanity: venv ## ansible-test sanity, all of it
	@$(PYTHON) tests/run/sanity.py

.PHONY: unit
unit: venv ## unit tests [FULL=1: the slow ones too]
	@$(PYTEST) tests/unit $(if $(FULL),,-m 'not slow')

.PHONY: integration
integration: lab-up ## tests on the lab [ONLY=<target>] [FULL=1: the slow ones too]
	@$(PYTEST) $(if $(ONLY),tests/integration/test_$(ONLY).py,tests/integration) \
		-m '$(if $(ONLY),,not loopback)$(if $(ONLY)$(FULL),, and )$(if $(FULL),,not slow)'

.PHONY: loopback
loopback: venv ## the same on robots of this machine's loopback addresses, without the lab
	@$(PYTEST) tests/integration -m loopback

.PHONY: faults
faults: lab-up ## every fault on the lab, and a table of them [ONLY=<name>] [QUICK=1: without the slow ones]
	@$(PYTHON) tests/run/faults.py $(if $(ONLY),--only '$(ONLY)') $(if $(QUICK),--quick)

.PHONY: verifiers
verifiers: venv ## what we issue, shown to OpenSSL, GnuTLS, pyca, Go, rustls and pkilint
	@PYTHONPATH=.dev $(PYTHON) tests/run/verifiers.py

.PHONY: package
package: venv ## builds the collection, installs it elsewhere, finds its playbook
	@$(PYTHON) tests/run/package.py

.PHONY: build
build: venv ## builds the collection into .cache/build
	@$(PYTHON) tests/run/package.py --build-only

.PHONY: bench-steady
bench-steady: venv venv-peer ## 1,000 robots in the steady state, compared
	@PYTHONPATH=.dev $(PYTHON) tests/bench/steady.py

.PHONY: bench-issue
bench-issue: venv venv-peer ## what certificates cost, compared: 1,000, 10,000, beside community.crypto and openssl
	@PYTHONPATH=.dev $(PYTHON) tests/bench/issue.py

.PHONY: clean
clean: ## removes what these commands made, except the lab (lab-down) and ~/.ansible
	@rm -rf .cache .venv .venv-peer
