# `make` alone lists what there is.

# Whatever runs is good enough to start with: scripts/bootstrap.py then looks for the best.
# Version managers' shims may only print "command not found", so each candidate is run.
find_python = for python in python3.14 python3.13 python3.12 python3.11 python3 python \
	$$HOME/.pyenv/versions/*/bin/python3 $$HOME/.asdf/installs/python/*/bin/python3 \
	$$HOME/.local/share/mise/installs/python/*/bin/python3 \
	$$HOME/.local/share/uv/python/*/bin/python3; do \
	if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	echo "$$python"; break; fi; done

# `make test PYTHON=python3.12` insists on one.
PYTHON ?=
define prepare
	@python="$(or $(PYTHON),$$($(find_python)))"; \
	if [ -z "$$python" ]; then \
	echo "No Python 3.11 or newer was found. On Debian or Ubuntu: apt-get install python3 python3-venv" >&2; \
	exit 1; fi; \
	"$$python" scripts/bootstrap.py $(if $(PYTHON),--here)
endef
VENV := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-loaded lint types format docs docs-api sync messages bench clean

help:  ## list these targets
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "  make %-12s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo:  ## serve the example shop at http://127.0.0.1:8000 (PORT=…, DB=sqlite|postgres)
	$(prepare) demo servers
	@PORT="$(PORT)" DB="$(DB)" exec $(VENV)/python scripts/demo.py

test:  ## lint, types, docs, and the suite on SQLite and PostgreSQL, oldest and newest Python
	$(prepare) dev
	@$(VENV)/python scripts/test.py

test-all:  ## the same with every supported Python and Django
	$(prepare) dev
	@$(VENV)/python scripts/test.py --all

test-loaded:  ## the suite three times while all cores are busy (ARGS="--times 5 -- tests/executor")
	$(prepare) dev
	@$(VENV)/python scripts/test_under_load.py $(ARGS)

lint:  ## check the format, the style and the import contracts
	$(prepare) dev
	$(VENV)/ruff format --check
	$(VENV)/ruff check
	$(VENV)/lint-imports

types:  ## check the types
	$(prepare) dev
	$(VENV)/mypy

format:  ## format the code, and fix what can be fixed automatically
	$(prepare) dev
	$(VENV)/ruff check --fix
	$(VENV)/ruff format

docs:  ## build the documentation site into build/site
	$(prepare) dev
	$(VENV)/sphinx-build --quiet --fail-on-warning --keep-going docs build/site
	@echo "build/site/index.html"

docs-api:  ## write the API reference from the docstrings, and that of the commands
	$(prepare) dev
	$(VENV)/python scripts/docs_api.py
	$(VENV)/python scripts/docs_commands.py

sync:  ## generate the sync twins of async operations
	$(prepare) dev
	$(VENV)/python scripts/async_to_sync.py

messages:  ## gather the texts to translate, and compile those that are (needs gettext)
	$(prepare) dev
	@cd django_dbos && ../$(VENV)/python -m django makemessages -l de -l fr --no-location --no-obsolete
	@cd django_dbos && ../$(VENV)/python -m django compilemessages

bench:  ## measure beside the peers (ARGS="--quick", ARGS="--only drain --rounds 5", …)
	$(prepare) peers servers
	$(VENV)/python -m benchmarks run $(ARGS)

clean:  ## remove everything that these commands made, databases included
	@if [ -d .servers ]; then "$$($(find_python))" scripts/servers.py clean; fi
	rm -rf .venv .venv.lock .tox .servers .demo .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
