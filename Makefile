# Everything a person runs.  `make help` lists it.  The first run makes .venv from requirements.lock; later runs cost nothing for that.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 3
ARGS ?=
LEFT_OUT = $(shell $(BIN)/python -c 'import av, mypy, ruff' 2>/dev/null || echo "left out in this image: make check (lint and types), and the tests of real codecs; --build-arg PARTS='run dev media' has them")
MEASURING := tests/conformance/test_links.py tests/conformance/test_over_time.py

.PHONY: help scenario scenarios report docs doctor test test-image test-vm test-browser browser-long accuracy check unit unit-long conformance conformance-long controls stories stories-long bench
.PHONY: controls-first controls-long cheats cheats-short judge variants busy fuzz fuzz-short killed killed-long soak soak-short endurance endurance-short speech licences audit lock clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 28

$(STAMP): requirements.lock pyproject.toml
	@./.ci/system-packages
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed, $(PYTHON) is older"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q harness topologies scenarios
	@touch $@

scenario: $(STAMP) ## NAME=migration: run a scenario (ARGS="--seed 7 --impair relay" go along)
	@$(BIN)/harness run "$(NAME)" $(ARGS)

scenarios: $(STAMP) ## list the scenarios, a line each
	@$(BIN)/harness list

report: $(STAMP) ## RUNS=artifacts/…: build the pages of runs anew
	@$(BIN)/harness report $(or $(RUNS),artifacts)

docs: $(STAMP) ## write docs/scenarios.md anew from the scenarios
	@$(BIN)/harness docs

doctor: ## what this machine can do, and the one command that would fix each lack (ARGS=--json); needs nothing but Python
	@if [ -x $(BIN)/python ]; then exec $(BIN)/python -m harness.doctor $(ARGS); else exec $(PYTHON) -m harness.doctor $(ARGS); fi

test: $(STAMP) ## check, and what takes seconds: tests, each scenario once, its first control: 12 minutes on two cores
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory conformance
	@$(MAKE) --no-print-directory stories
	@$(MAKE) --no-print-directory controls-first
	@$(MAKE) --no-print-directory cheats-short

test-image: $(STAMP) # what `docker run IMAGE test` does: make test, as far as the image was built for it
	@command -v pytest >/dev/null && $(BIN)/python -c 'import hypothesis, scapy, yaml' 2>/dev/null || \
	  { echo "this image was built without its tests: docker build --build-arg PARTS='run scapy hypothesis pyyaml' ."; exit 2; }
	@if [ -n "$(LEFT_OUT)" ]; then echo "$(LEFT_OUT)"; else $(MAKE) --no-print-directory check; fi
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory conformance
	@$(MAKE) --no-print-directory stories
	@$(MAKE) --no-print-directory controls-first
	@$(MAKE) --no-print-directory cheats-short
	@if [ -n "$(LEFT_OUT)" ]; then echo "$(LEFT_OUT)"; fi

check: $(STAMP) ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(STAMP) ## unit tests
	$(BIN)/pytest tests/unit tests/layers.py -q -n $(JOBS) -m "not long"

unit-long: $(STAMP) ## the rest of them: every way in which a session can end, properties on all their examples
	HARNESS_EXAMPLES=all $(BIN)/pytest tests/unit -q -n $(JOBS) -m "long or hypothesis"

conformance: $(STAMP) ## every executor against one contract, short form; what measures links runs alone
	$(BIN)/pytest tests/conformance tests/killed -q -n 2 -m "not long" $(addprefix --ignore=,$(MEASURING))
	$(BIN)/pytest $(MEASURING) -q -m "not long"

conformance-long: $(STAMP) ## the rest of it: the relay over packet sockets where there are TAPs too, mappings that expire, reboot and flood
	$(BIN)/pytest tests/conformance -q -m long

stories: $(STAMP) ## every scenario but the long ones once, two at a time: they measure
	$(BIN)/pytest scenarios/*.py -p harness.pytest_plugin -q -n 2 --conclusive -m "not long" $(ARGS)

stories-long: $(STAMP) ## the long scenarios
	$(BIN)/pytest scenarios/*.py -p harness.pytest_plugin -q -n 2 --conclusive -m long $(ARGS)

controls: $(STAMP) ## every scenario with its sabotaged agents: each must go red on its verdict
	$(BIN)/pytest tests/controls -q -n $(JOBS) $(ARGS)

controls-first: $(STAMP)
	$(BIN)/pytest tests/controls -q -n $(JOBS) -m "not long"

controls-long: $(STAMP) ## the second and third sabotaged agent of a scenario, and those of long scenarios, two at a time: nothing hurries them
	$(BIN)/pytest tests/controls -q -n 2 -m long

cheats: $(STAMP) ## PART=3/8: stacks that cheat, each in a scenario of each kind that it breaks, the worst in all: none may PASS; goes on
	$(BIN)/python -m tests.cheats $(if $(PART),--part $(PART)) $(ARGS)

cheats-short: $(STAMP)
	$(BIN)/pytest tests/cheats -q -n 2

variants: $(STAMP) ## ONLY=greased-bit: healthy stacks of other kinds, over rebinding, migration and call_flow: none may FAIL; goes on
	$(BIN)/python -m tests.variants $(if $(ONLY),--only $(ONLY)) $(ARGS)

judge: $(STAMP) ## a dozen scenarios and controls (ARGS=--all: all) judged anew by tshark's fields alone: is any figure of ours different?
	@./.ci/tshark
	$(BIN)/python -m tests.judge --figures=artifacts/judge/judge.json $(ARGS)
	$(BIN)/pytest tests/conformance/stopped_listener.py -q

busy: $(STAMP) ## N=200: scenarios and sabotaged stacks while others take the machine away: no run may FAIL, no sabotage PASS
	$(BIN)/python -m tests.busy $(or $(N),200) $(ARGS)

test-vm: $(STAMP) ## netem, and migration and rebinding with it, in a virtual machine (docs/platforms.md): some 10 minutes
	$(BIN)/python -m tests.vm.suite

test-browser: $(STAMP) ## the pages of real runs in headless Chromium
	@./.ci/browser
	$(BIN)/pytest tests/browser -q -m "not long"

browser-long: $(STAMP) ## the page of a real call of ten minutes there
	@./.ci/browser
	$(BIN)/pytest tests/browser -q -m long

accuracy: $(STAMP) ## write docs/accuracy.md anew: the relay measured here, netem by the latest `make test-vm`, the judge by the latest `make judge`
	$(BIN)/pytest tests/conformance/test_links.py -q --figures=artifacts/conformance/relay.json
	$(BIN)/python -m tests.accuracy artifacts/conformance/relay.json artifacts/vm/netem.json
	$(BIN)/python -m tests.accuracy --judge artifacts/judge/judge.json

$(VENV)/.fuzz: .ci/fuzz.lock $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .ci/fuzz.lock
	@touch $@

fuzz: $(VENV)/.fuzz ## N=1000000: so many inputs to all that reads untrusted bytes (ARGS="--seed 7 --only rtp" go along)
	PYTHONHASHSEED=0 nice -n 19 $(BIN)/python -m tests.fuzz --inputs $(or $(N),1000000) $(ARGS)

fuzz-short: $(VENV)/.fuzz
	PYTHONHASHSEED=0 nice -n 19 $(BIN)/python -m tests.fuzz --inputs 30000

soak: $(STAMP) ## NAME=migration N=10: run a scenario over seeds, two at a time, until there are N conclusive runs
	@$(BIN)/harness soak "$(NAME)" --runs $(or $(N),10) $(ARGS)

killed: $(STAMP) ## N=200 SEED=1: kill runs at random moments on a host of their own, and look at what remains
	$(BIN)/python -m tests.killed --deaths $(or $(N),200) --seed $(or $(SEED),1) --keep artifacts/killed $(ARGS)

killed-long: $(STAMP) ## one death of every kind: some 4 minutes
	$(BIN)/pytest tests/killed -q -m long

soak-short: $(STAMP)
	@$(MAKE) --no-print-directory soak NAME=migration N=3

endurance: $(STAMP) ## FOR=2h: one call of that length, a rebind every 30 s and a migration every 5 min (FOR=2m,5s,20s: others)
	@$(BIN)/harness run endurance --endurance=$(or $(FOR),2h) --keep=$(or $(KEEP),16) $(ARGS)

endurance-short: $(STAMP)
	@$(MAKE) --no-print-directory endurance FOR=2m,5s,20s KEEP=2

speech: $(STAMP) ## make harness/media/speech.ogg anew, the voice of `--media speech`
	$(BIN)/python -m harness.media.voice harness/media/speech.ogg

bench: $(STAMP) ## measure, as ratios within one run (see benchmarks/README.md)
	$(BIN)/python -m benchmarks

licences: $(STAMP) ## write docs/licences.md anew; fails for a licence that is unknown or not allowed
	@$(BIN)/python .ci/licences.py

audit: ## known vulnerabilities of what is locked, by pip-audit; fails too where it could not look everything up
	@PYTHON=$(PYTHON) ./.ci/audit

lock: ## renew requirements.lock, and pip-audit's and atheris's own (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra dev --extra build --extra media -o requirements.lock pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url -o .ci/audit.lock .ci/audit.in
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url -o .ci/fuzz.lock .ci/fuzz.in

clean: ## remove what `make` made (artifacts are kept)
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache
