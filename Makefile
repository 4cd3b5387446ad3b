# make run    everything set up, then the server:  make run ARGS="--port 9000"
# make test   everything set up, then all tests:   make test ARGS="tests/test_lane.py -q"
#             a file of tests runs in one process; JOBS says how many there are, one for each core by itself
# make check  format, lint, types and the fast tests, in about two minutes
# make bench  the benchmarks that need nothing beside this checkout, to bench/RESULTS.md's tables
# make prove  every promise about load, faults and hostile input, in one table:  make prove ARGS="--quick"
SHELL := /bin/bash
PYTHON_ := .venv/bin/python
JOBS := auto
PYTEST := $(PYTHON_) -m pytest -n $(JOBS) --dist loadfile
LOCK := .venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock"
.DEFAULT_GOAL := run
.PHONY: run test check format bench prove lock clean

run:
	@scripts/install.sh run
	@exec $(PYTHON_) app.py $(ARGS)

test:
	@scripts/install.sh test
	@exec $(PYTEST) $(ARGS)

check:
	@scripts/install.sh test
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	$(PYTEST) -q -m "not slow and not browser and not gpu" $(ARGS)

format:
	@scripts/install.sh test
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

bench:
	@scripts/install.sh test
	@for name in chat over_http startup streams; do $(PYTHON_) -m bench.$$name $(ARGS) || exit 1; done

prove:
	@scripts/install.sh test
	@exec $(PYTHON_) -m prove $(ARGS)

# After changing requirements*.txt: all they need in turn, for every platform, each file with its hashes.
# What is locked stays at its version:  make lock ARGS="--upgrade-package gradio"
lock:
	@scripts/install.sh test
	@$(LOCK) requirements.txt -o requirements.lock $(ARGS)
	@$(LOCK) -c requirements.lock requirements.txt requirements-dev.txt -o requirements-dev.lock $(ARGS)

clean:
	rm -rf .venv .venv-prove .prove .pytest_cache .ruff_cache .mypy_cache .hypothesis
