# `make demo` and `make test` install what they need: Python packages into .venv, Debian packages where root.
PYTHON ?= python3
DEBIAN_PYTHON ?= /usr/bin/python3
PYTEST_ARGS ?=
PREPARE := PYTHON="$(PYTHON)" DEBIAN_PYTHON="$(DEBIAN_PYTHON)" tests/support/prepare
# a serf that `prepare` unpacked is found after any that the machine has
WITH_SERF := PATH="$$PATH:/usr/sbin:/sbin:$(CURDIR)/.venv/serf/usr/bin"

.PHONY: help demo test test-pypi test-debian check soak clean

help:
	@echo 'make demo         three daemons on this machine: join, crash, detection, return, leave'
	@echo 'make test         the whole test suite, on PyPI'\''s newest packages and on Debian'\''s own'
	@echo 'make test-pypi    only the first (PYTEST_ARGS="-k name" is passed on)'
	@echo 'make test-debian  only the second'
	@echo 'make check        ruff and mypy'
	@echo 'make soak         ten minutes of a mixed cluster under packet loss (root)'
	@echo 'make clean        remove .venv and everything generated'

demo:
	@$(PREPARE) runtime
	@.venv/bin/python -m tests.demo

# both runs take place even if the first one fails
test:
	@status=0; \
	$(MAKE) --no-print-directory test-pypi || status=1; \
	$(MAKE) --no-print-directory test-debian || status=1; \
	exit $$status

test-pypi:
	@$(PREPARE) test
	@echo '== the suite on the newest packages'
	@$(WITH_SERF) .venv/bin/python -m pytest $(PYTEST_ARGS)

# exit status 3 of `prepare`: it has said that this machine cannot, and that is allowed
test-debian:
	@$(PREPARE) debian || { status=$$?; test $$status -eq 3 && exit 0; exit $$status; }; \
	echo "== the suite on Debian's own packages"; \
	$(WITH_SERF) $(DEBIAN_PYTHON) -m pytest -p no:cacheprovider $(PYTEST_ARGS)

check:
	@$(PREPARE) test
	@status=0; \
	.venv/bin/python -m ruff check . || status=1; \
	.venv/bin/python -m mypy || status=1; \
	exit $$status

soak:
	@$(PREPARE) test
	$(WITH_SERF) .venv/bin/python -m tests.long.lossy

clean:
	rm -rf .venv build dist *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
