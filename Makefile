# `make run` starts the whole system, `make test` runs the tests; each sets up what it needs first.
# `make manage ARGS="…"` runs a command of manage.py with the settings of the running site.
PYTHON ?= python3
VENV := .venv
PORT ?= 8000
SANDBOX_PORT ?= 8025
export PORT SANDBOX_PORT
# Without bytecode files each of the many processes that tests start would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

# Install the requirements file $(1). If pip cannot reach its index, it reports conflicting versions; print the real reason.
define install
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check -r $(1) -c constraints.txt >$(VENV)/pip.log 2>&1 || { \
	  if grep -q 'connection broken by' $(VENV)/pip.log; \
	  then echo "pip could not reach its package index: check the network, the proxy or PIP_INDEX_URL. Its output: $(VENV)/pip.log"; \
	  else cat $(VENV)/pip.log; fi; exit 1; }
endef

.PHONY: quick others run manage test simulate coverage lint lock bench messages
.DELETE_ON_ERROR:

run: $(VENV)/run-installed .env
	@$(VENV)/bin/python -m playmatatu.devserver

manage: $(VENV)/run-installed .env
	@$(VENV)/bin/python -m playmatatu.devserver manage $(ARGS)

test: $(VENV)/test-installed
	@$(VENV)/bin/python -m pytest -q -n auto --dist worksteal -rs

# The SMS sender in virtual time with faults drawn from each seed; 1-100000 takes a night. See docs/simulation.md.
SEEDS ?= 1-1000
simulate: $(VENV)/test-installed
	@$(VENV)/bin/python -m tests.simulation $(SEEDS)

# Which lines the tests execute in their own process. Workers that tests start do not count.
coverage: $(VENV)/test-installed
	@$(VENV)/bin/python -m pytest -q -n auto --dist worksteal --cov --cov-report=term:skip-covered

# The fast tests, in a minute: they start no process and no browser, and install nothing.
quick: $(VENV)/test-installed
	@$(VENV)/bin/python -m pytest -q -n 3 --dist loadfile -m "not slow" tests/sms/text tests/sms/sending tests/sms/dlr tests/sms/console \
	  tests/sms/stats tests/sms/test_*.py tests/game/rules tests/payments tests/playmatatu/test_imports.py tests/playmatatu/test_completeness.py \
	  tests/playmatatu/test_settings.py tests/test_documents.py

# The fast tests on the newest Python with the newest Django, and on the oldest with the lower bounds of all dependencies.
others: $(VENV)/test-installed
	@.ci/others newest 3.13 'django>=6' lower-bounds 3.10 lowest

lint: $(VENV)/test-installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy sms payments game playmatatu tests
	$(VENV)/bin/mypy --config-file= --strict --follow-imports silent --python-version 3.12 .ci/adopter.py
	$(VENV)/bin/typos --format brief .
	$(VENV)/bin/python .ci/language.py
	$(VENV)/bin/python .ci/dead_code.py
	$(VENV)/bin/lint-imports --no-cache >/dev/null || $(VENV)/bin/lint-imports --no-cache
	git ls-files '*templates/*.html' | xargs $(VENV)/bin/djade --target-version 5.2 --check
	$(VENV)/bin/hadolint deploy/Dockerfile
	$(VENV)/bin/check-jsonschema -q --builtin-schema vendor.compose-spec deploy/compose.yaml

# Installs the packages that the benchmarks compare with.
bench: $(VENV)/test-installed
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check -r benchmarks/requirements.txt
	$(VENV)/bin/python -m benchmarks.delivery
	$(VENV)/bin/python -m benchmarks.console

# The newest versions that requirements allow, for every supported Python: constraints.txt for development, and
# requirements.lock for production, which pip installs only if each file has the hash that is written there.
lock: $(VENV)/test-installed
	$(VENV)/bin/uv pip compile --universal --python-version 3.10 --upgrade --no-annotate --no-header -q requirements-dev.txt -o constraints.txt
	$(VENV)/bin/uv pip compile --universal --python-version 3.10 --generate-hashes --no-annotate --no-header -q requirements.txt -c constraints.txt -o requirements.lock

# Update the translation catalogs (needs gettext). Translate the new entries, then run it again. The `sms` app's admin is not translated.
messages: $(VENV)/test-installed
	$(VENV)/bin/django-admin makemessages -l lg -l sw --add-location file --no-wrap --no-obsolete --ignore $(VENV) --ignore tests --ignore benchmarks --ignore "sms/?*"
	$(VENV)/bin/django-admin compilemessages -l lg -l sw --ignore $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { echo "Python 3.10 or newer is needed; name one with PYTHON=…, as in: make run PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "This Python has no venv module; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "Setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/run-installed: requirements.txt constraints.txt | $(VENV)/bin/python
	@echo "Installing what the service needs (once)"
	$(call install,requirements.txt)
	@touch $@

$(VENV)/test-installed: requirements.txt requirements-dev.txt constraints.txt | $(VENV)/bin/python
	@echo "Installing what the tests need (once)"
	$(call install,requirements-dev.txt)
	@touch $@ $(VENV)/run-installed

# Created once; after that the file belongs to the operator.
.env: | .env.example $(VENV)/bin/python
	@umask 077; key=$$($(VENV)/bin/python -c 'import secrets; print(secrets.token_urlsafe(50))'); sed "s/^SECRET_KEY=.*/SECRET_KEY=$$key/" .env.example > $@
