# make help                     what there is
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONUTF8 := 1

.DEFAULT_GOAL := help
.PHONY: help run try test check bench disturbed mutate lock messages assets format kiosk

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/runtime: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --no-deps -r requirements.txt
	touch $@

$(VENV)/developer: requirements-dev.txt $(VENV)/runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --no-deps -r requirements-dev.txt
	touch $@

# Card readers need a compiler and libpcsclite-dev (.ci/install-packages); without them everything else works.
$(VENV)/pcsc: requirements-pcsc.txt $(VENV)/runtime
	@if test -e /usr/include/PCSC/winscard.h && command -v cc > /dev/null; then \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --no-deps \
			-r requirements-pcsc.txt && touch $@ || echo "pyscard could not be built: readers on PC/SC are left out"; \
	fi

run: $(VENV)/runtime ## start everything with a small Chongqing; Ctrl-C stops it
	@exec $(BIN)/python -m app.cli demo

try: $(VENV)/runtime ## the main job once, in about a minute (ARGS=--json for machines)
	@$(BIN)/python -m app.cli try $(ARGS)

check: $(VENV)/developer ## ruff, mypy, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check $(VENV)/pcsc ## every check and test that this machine can run
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

bench: $(VENV)/developer $(VENV)/pcsc ## a benchmark: make bench NAME=try
	@$(BIN)/python -m bench.$(NAME) $(ARGS)

disturbed: $(VENV)/developer ## ten thousand disturbed steps of terminals and server (a quarter of an hour; DISTURBED_STEPS=100000 for more)
	DISTURBED_STEPS=$${DISTURBED_STEPS:-10000} $(BIN)/pytest -q -o timeout=0 tests/card_terminal/test_disturbed_run.py

mutate: $(VENV)/developer ## plant bugs in the ledger and name those no test notices; hours (ARGS='sql' or ARGS='ledger.checks.*')
	@$(BIN)/python -m tests.ledger.mutate $(ARGS)

format: $(VENV)/developer ## let ruff set the code's form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## write requirements*.txt anew from requirements*.in (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-header --no-annotate requirements.in -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-header --no-annotate -c requirements.txt requirements-dev.in -o requirements-dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-header --no-annotate -c requirements.txt requirements-box.in -o requirements-box.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-header --no-annotate -c requirements.txt requirements-pcsc.in -o requirements-pcsc.txt

assets: ## copy style, scripts and icons from npm into the repository (developers only)
	npm ci && node assets.mjs

kiosk: $(VENV)/developer ## take the pictures of every kiosk screen in docs/images/kiosk anew (needs Chromium)
	TESTCARD_WRITE_SCREENS=1 $(BIN)/pytest -q tests/card_terminal/test_kiosk_screens.py

messages: $(VENV)/developer ## collect and compile the texts of the pages
	$(BIN)/pybabel -q extract --no-location --sort-output --no-wrap --omit-header -F app/translations/babel.cfg \
		-k _l -k _n:1,2 -o app/translations/messages.pot app
	$(BIN)/pybabel -q update -N --no-wrap --ignore-obsolete --ignore-pot-creation-date -i app/translations/messages.pot \
		-d app/translations -l zh_Hans_CN
	$(BIN)/pybabel -q compile -d app/translations
