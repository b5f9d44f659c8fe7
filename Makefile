.DEFAULT_GOAL := help
.PHONY: help setup check test test-pythons conformance bench demo clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv with everything in it (the others do that by themselves)
	@scripts/install

check: setup ## Lint, types, walls and the tests that start no servers
	@scripts/check

test: setup ## Everything: lint, types, walls, all tests, coverage
	@scripts/test

test-pythons: setup ## The tests that start no servers, on every other Python found here
	@scripts/test-pythons

conformance: setup ## The 517 Autobahn cases against our server (20 minutes)
	@scripts/conformance

bench: setup ## What Telex costs, beside what others cost (40 minutes, Linux)
	@scripts/bench

demo: setup ## Serve the chat at http://127.0.0.1:8000
	@scripts/demo

clean: ## Remove the environments and everything that was built or cached
	rm -rf .venv .venvs .cache .coverage .coverage.* htmlcov dist build
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
