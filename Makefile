# Marquee. `make help` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3.11
BIN := .venv/bin
UV_VERSION := 0.13.9
# Where the demo, the servers and the benchmarks keep their files; one folder, ignored by git.
MARQUEE_HOME ?= work
export MARQUEE_HOME
# Nothing we run reports to anyone.
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_ALLOW_PICKLE_DESERIALIZATION := false
export GX_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.PHONY: help setup lock demo services services-stop docs test test-fast check format serve airflow mlflow clean bench-quality bench-retrieval bench-als bench-towers bench-score bench-day demo-audit bench-lookup bench-ranker bench-audit bench-audit-power bench-funnel bench-funnel-demo bench-simulation bench-publish

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

setup: .venv/installed pipelines/serving/arrange.so ## Install the locked versions into .venv (3.7 GB fetched, 8 GB on disk) and Java 17

.venv/installed: requirements.lock setup.cfg pyproject.toml
	@infra/install-runtime
	@echo "marquee: installing the locked packages into .venv: about 3.7 GB to fetch (torch comes with CUDA), 8 GB on disk, some minutes"
	@command -v $(PYTHON) >/dev/null || { echo "marquee: Python 3.11 is needed and there is no $(PYTHON); name yours with PYTHON=..." >&2; exit 69; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install --quiet --compile-bytecode --require-hashes --python $(BIN)/python -r requirements.lock
	@$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --editable .
	@touch $@

# The rules of the endpoint, compiled; without a compiler they are interpreted.
pipelines/serving/arrange.so: pipelines/serving/arrange.c
	@if command -v cc >/dev/null; then cc -O3 -std=c11 -Wall -Wextra -Werror -shared -fPIC -DSOURCE_DIGEST="\"$$(sha256sum < $< | cut -d' ' -f1)\"" -o $@.new $< && mv $@.new $@; \
	else echo "marquee: no C compiler (cc): the endpoint's rules run interpreted, at a quarter of their speed" >&2; fi

lock: ## Resolve all versions anew into requirements.lock
	$(BIN)/uv pip compile setup.cfg --all-extras --python-version 3.11 --no-emit-index-url --no-header --no-annotate --generate-hashes --quiet -o requirements.lock

check: setup ## Format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup ## Let ruff rewrite what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

SOURCE ?= simulated
STORES ?= embedded
demo: setup $(if $(findstring cassandra,$(STORES)),.cassandra/installed) ## Three nights of a simulated service, or: make demo SOURCE=movielens DATA=FOLDER
	@MARQUEE_HOME=$(MARQUEE_HOME)/demo $(BIN)/python -m jobs.run_demo --source $(SOURCE) --stores $(STORES) $(if $(DATA),--data $(DATA))

.cassandra/installed: infra/cassandra/server/pom.xml
	@infra/install-cassandra

demo-audit: setup ## Two audits to look at: MovieLens (DATA=FOLDER) and the simulated service
	@$(BIN)/python -m jobs.run_demo_audit $(if $(DATA),--data $(DATA))

NODES ?= 1
CASSANDRA_PORT ?= 9042
REDIS_PORT ?= 6379
services: setup .cassandra/installed ## Cassandra and Redis in the background (NODES=3, CASSANDRA_PORT=..., REDIS_PORT=...)
	@$(BIN)/python -m jobs.start_services --nodes $(NODES) --port $(CASSANDRA_PORT) --redis-port $(REDIS_PORT)

services-stop: setup ## End them
	@$(BIN)/python -m jobs.stop_services

serve: setup ## The endpoint at http://127.0.0.1:8080 (MARQUEE_PORT=...), until Ctrl-C
	@exec $(BIN)/python -m jobs.serve_lookup

test: setup .cassandra/installed ## Every test, real servers included
	@infra/install-browser
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: setup .cassandra/installed ## The tests that take seconds
	@infra/install-browser
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

AIRFLOW_PORT ?= 8081
airflow: setup ## Airflow with our DAGs at http://127.0.0.1:8081 (AIRFLOW_PORT=...), until Ctrl-C
	@exec $(BIN)/python -m jobs.run_airflow --port $(AIRFLOW_PORT)

MLFLOW_PORT ?= 5000
mlflow: setup ## What every run learned with, at http://127.0.0.1:5000 (MLFLOW_PORT=...), until Ctrl-C
	@mkdir -p "$(MARQUEE_HOME)"
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false exec $(BIN)/mlflow ui --host 127.0.0.1 --port $(MLFLOW_PORT) --workers 1 \
		--backend-store-uri "sqlite:///$(abspath $(MARQUEE_HOME))/mlflow.db" \
		--artifacts-destination "$(abspath $(MARQUEE_HOME))/mlartifacts"

docs: setup ## Write what is derived: the data dictionary
	@$(BIN)/python -m jobs.describe_tables

bench-funnel: setup ## What each part of the funnel adds, on a simulated service, beside its oracle
	@$(BIN)/python tests/benchmarks/funnel.py

bench-funnel-demo: setup ## The same of the demo's last night, as `make demo` left it
	@$(BIN)/python tests/benchmarks/funnel.py --home $(MARQUEE_HOME)/demo --users 4000 --titles 1600 --days 45 --week 2026-06-27

bench-simulation: setup ## 200,000 users x 8,000 titles x 10 million events to disk, and docs/simulation.png
	@$(BIN)/python tests/benchmarks/simulation.py --users 200000 --titles 8000 --events 10000000 $(if $(DATA),--data $(DATA))

bench-publish: setup .cassandra/installed ## Lists a second of write_lists beside a bare loop, into Redis and Cassandra, and its memory
	@$(BIN)/python tests/benchmarks/publish.py

bench-quality: setup ## ALS beside most popular on MovieLens: make bench-quality DATA=FOLDER
	@$(BIN)/python tests/benchmarks/quality.py --data $(or $(DATA),DATA-is-not-set)

PROTOCOL ?= B
bench-retrieval: setup ## Our retrievers beside their peers: make bench-retrieval DATA=FILE (PROTOCOL=A needs no data; PROTOCOL=C TRAIN= TEST=, MODELS=)
	@$(BIN)/python tests/benchmarks/retrieval.py --protocol $(PROTOCOL) $(if $(DATA),--data $(DATA)) \
		$(if $(TRAIN),--train $(TRAIN)) $(if $(TEST),--test $(TEST)) $(if $(MODELS),--models $(MODELS))

bench-als: setup ## ALS on Spark beside `implicit` and MLlib: 200,000 users x 8,000 titles x 6.8 million plays
	@$(BIN)/python tests/benchmarks/als.py

bench-towers: setup ## Places the towers learn a second beside a plain SASRec and the machine's matrix products
	@$(BIN)/python tests/benchmarks/towers.py $(if $(DATA),--data $(DATA))

bench-ranker: setup ## The ranker's speed and quality beside plain peers on the same examples
	@$(BIN)/python tests/benchmarks/ranker.py

bench-score: setup ## Lists a second beside what FAISS and the ranker's matrix products alone allow
	@$(BIN)/python tests/benchmarks/score.py

bench-day: setup ## The reference day, extract to live, step by step
	@$(BIN)/python tests/benchmarks/day.py --users 200000 --titles 8000 --events 10000000 --beside 50000 \
		--home $(MARQUEE_HOME)/day --learning "--towers.places 4000000"

bench-lookup: setup .cassandra/installed ## The endpoint beside a bare handler, and at 2,000 requests a second for 60 s
	@$(BIN)/python tests/benchmarks/lookup.py

bench-audit: setup ## The full audit of 200,000 users x 200 titles: seconds and memory
	@$(BIN)/python tests/benchmarks/audit.py

bench-audit-power: setup ## How often an audit finds a planted loss, and how often it errs where there is none
	@OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/audit_power.py

clean: ## Remove what was built and written: work/, caches, not .venv
	rm -rf work .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
