# `make` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE # else each process that a test starts compiles every module it imports

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Make .venv hold what requirements.lock says
	@infra/setup.sh

# Side by side, two more than there are cores, for some of them wait: what takes longest comes first. Tests are
# shared out by folders, not by xdist, whose workers each import and collect all that the others run.
CHECKS := test-rest test-clients test-stores test-rooms types test-operating test-ingest format lint imports secrets
CHECKED := $(BIN)/python -m pytest -q -p no:cacheprovider -m "not service and not slow and not alone"
INGEST := tests/unit/ingest
ROOMS := tests/unit/dispatcher tests/unit/shared
OPERATING := tests/unit/http_server tests/unit/importing tests/unit/ringctl tests/unit/web
CLIENTS := $(wildcard tests/unit/test_*client*.py tests/unit/test_library*.py tests/unit/test_*_product.py)
STORES := tests/cluster tests/contract tests/model tests/property

.PHONY: check $(addprefix check-,$(CHECKS))
check: setup ## Format, lint, types, import rules and the tests that need no server
	@$(MAKE) --no-print-directory --keep-going $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) \
		--jobs=$$(($$(getconf _NPROCESSORS_ONLN) + 2)) $(addprefix check-,$(CHECKS))

check-format:
	$(BIN)/ruff format --check
check-lint:
	$(BIN)/ruff check
check-imports:
	$(BIN)/lint-imports
check-secrets:
	$(BIN)/python -m tests.harness.secret_scan
check-types:
	$(BIN)/mypy
check-test-ingest:
	$(CHECKED) $(INGEST)
check-test-rooms:
	$(CHECKED) $(ROOMS)
check-test-operating:
	$(CHECKED) $(OPERATING)
check-test-stores:
	$(CHECKED) $(STORES)
check-test-clients:
	$(CHECKED) $(CLIENTS)
check-test-rest:
	$(CHECKED) tests/unit $(addprefix --ignore=,$(INGEST) $(ROOMS) $(OPERATING) $(CLIENTS))

.PHONY: fix
fix: setup ## Format and repair what ruff can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: test
test: ## Run every test, also those on real servers
	@./test

.PHONY: test-service
test-service: setup ## Run the tests on real Cassandra, Kafka and etcd
	$(BIN)/python -m pytest -q -m service

.PHONY: simulate
simulate: setup ## Play 1,000 seeds of each simulation on all cores, and a fleet; SEEDS=, FIRST=
	$(BIN)/python -m tests.cluster.campaign $(or $(FIRST),10000) $(or $(SEEDS),1000)
	$(BIN)/python -m tests.cluster.fleet

.PHONY: explore
explore: setup ## Play the property tests on other examples each time; SEED= for those of an earlier time
	seed=$(or $(SEED),$$RANDOM); echo "SEED=$$seed"; \
	$(BIN)/python -m pytest -q -n 2 -p no:cacheprovider --hypothesis-seed=$$seed tests/property tests/contract -m "not service"

.PHONY: model
model: setup ## Check every interleaving of the models with SPIN; some minutes, see docs/model.md
	$(BIN)/python -m tests.model.check

.PHONY: cron-agreement
cron-agreement: setup ## Compare the times of 2,000 cron expressions with croniter's; five minutes
	$(BIN)/python -m tests.harness.cron_agreement

.PHONY: schemathesis
schemathesis: setup ## Hold a server against its OpenAPI document by Schemathesis, route by route, two hours; EXAMPLES=, LIMIT= seconds a route
	test -x .ringtime/schemathesis/bin/st || python3 -m venv .ringtime/schemathesis
	.ringtime/schemathesis/bin/pip install -q schemathesis==4.32.5
	$(BIN)/python -m tests.harness.schemathesis.run --each $(or $(LIMIT),1200) -n $(or $(EXAMPLES),2000)

.PHONY: faults
faults: setup ## Check the models, run the long fault set on real servers, write docs/faults.md anew; 100 minutes
	$(BIN)/python -m tests.model.check --or-skip
	RINGTIME_FAULTS=long $(BIN)/python -m pytest -q -s tests/e2e/test_cluster.py tests/e2e/test_network_faults.py \
		tests/e2e/test_delivery.py tests/e2e/test_kafka_delivery.py tests/e2e/test_recurring.py \
		tests/e2e/test_resize.py tests/e2e/test_bulk.py tests/e2e/test_upgrade.py
	RINGTIME_FAULTS=long $(BIN)/python -m pytest -q tests/service/test_local_servers.py tests/service/test_cassandra_store.py \
		tests/service/test_three_nodes.py -k "three_nodes or tombstones"
	RINGTIME_FAULTS=long $(BIN)/python -m pytest -q tests/e2e/test_serve.py tests/e2e/test_door.py tests/cluster
	$(BIN)/python -m tests.harness.render_faults > docs/faults.md

.PHONY: bench
bench: setup ## Measure a little of everything, then the parts; benchmarks/README.md says what there is
	$(BIN)/python -m benchmarks quick
	@for script in $$(grep -l '^if __name__' benchmarks/*.py | grep -v __main__); do echo "== $$script"; PYTHONPATH=. $(BIN)/python "$$script" || exit; done

.PHONY: load
load: setup ## Play each load shape on a cluster of its own for a minute; FACTOR= scales it
	@failed=0; for shape in http wide kafka kafka-delete; do echo "== $$shape"; \
		./run load $$shape --factor $(or $(FACTOR),0.01) $$([ $$shape = wide ] && echo --tenants 200) || failed=1; \
	done; exit $$failed

.PHONY: docs
docs: setup ## Write docs/settings.md, docs/app-settings.md, the table of docs/metrics.md, the dashboards of Grafana and what the chart has of them anew
	$(BIN)/python -m ringtime_shared.settings > docs/settings.md
	$(BIN)/python -m ringtime_shared.apps.reference > docs/app-settings.md
	$(BIN)/python -m ringtime_shared.metrics docs/metrics.md
	$(BIN)/python -m ringtime_local.dashboards
	$(BIN)/python -m ringtime_local.chart

.PHONY: walkthrough
walkthrough: setup ## Record the walk-through of docs/ringctl.md anew, on a real cluster
	$(BIN)/python -m tests.harness.record_ringctl

IN_IMAGE := calendars cluster kafka otel statsd

.PHONY: screenshots
screenshots: setup ## Take the pictures of the dashboard in docs/images anew, in Chromium
	$(BIN)/python -m tests.harness.screenshots

.PHONY: lock
lock: setup ## Write requirements.lock, and of it what the image needs, anew from pyproject.toml; UPGRADE=1 takes newer releases
	$(BIN)/uv pip compile -q pyproject.toml --extra dev --extra load --generate-hashes \
		--no-annotate --no-header --no-emit-package ringtime --no-emit-package ringtime-local --python-version 3.11 $(if $(UPGRADE),--upgrade) -o requirements.lock
	$(BIN)/uv pip compile -q pyproject.toml $(addprefix --extra ,$(IN_IMAGE)) --constraints requirements.lock --generate-hashes \
		--no-annotate --no-header --python-version 3.11 -o infra/image.lock
	$(BIN)/python -m ringtime_local.sbom
	printf 'hatchling\nuv\n' | $(BIN)/uv pip compile -q - --constraints requirements.lock --generate-hashes \
		--no-annotate --no-header --python-version 3.11 -o infra/build.lock

.PHONY: version
version: ## Write VERSION= wherever the version stands; a release's also heads what CHANGELOG.md has unreleased
	@python3 infra/ringtime_local/release.py $(VERSION)
	@infra/setup.sh

.PHONY: dist
dist: setup ## Build wheel and source archive of the product and of the client alone into dist/
	rm -rf dist/release && mkdir -p dist/release
	for project in . client; do (cd $$project && $(CURDIR)/$(BIN)/python -m hatchling build -t sdist -t wheel -d $(CURDIR)/dist/release) || exit; done
	cd dist/release && sha256sum ringtime* > SHA256SUMS && cat SHA256SUMS

.PHONY: sbom
sbom: ## Write dist/sbom.json, a CycloneDX list of what requirements.lock holds
	test -x .ringtime/sbom/bin/cyclonedx-py || python3 -m venv .ringtime/sbom
	.ringtime/sbom/bin/pip install -q cyclonedx-bom==7.5.0
	mkdir -p dist && .ringtime/sbom/bin/python -W ignore -m cyclonedx_py requirements requirements.lock \
		--pyproject pyproject.toml --output-reproducible --of JSON -o dist/sbom.json

.PHONY: clean
clean: ## Remove caches and builds; .venv and data stay
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
