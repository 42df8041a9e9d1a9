# Hangar. `make run` starts it, `make test` tests it, `make help` lists the rest.
SHELL := /bin/bash

GO       ?= go
BIN      := bin
TOOLS    := $(CURDIR)/.tools/bin
DATA     ?= ./data
MODULES  := shared client services/meta services/blocks services/admin services/gateway services/standalone tests bench
# Modules whose tests are fast and need no built binaries.
UNITS    := shared client services/meta services/blocks services/admin services/gateway services/standalone bench
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.version=$(VERSION)
LINT     := $(TOOLS)/golangci-lint
LINT_VERSION := v2.15.0
# Tests find there what tests/clients.sh fetched.
export PATH := $(TOOLS):$(PATH)
SAY      = @printf '\033[1m==> %s\033[0m\n'

.DEFAULT_GOAL := help
.PHONY: up down images compose-test trace-test help build run test unit e2e faults consistency durability consistency-bites race check fmt vet lint tidy bench bench-polls bench-geo clients clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

build: ## build all binaries into bin/ (static)
	$(SAY) "Building bin/ (the first time takes a few minutes)"
	@mkdir -p $(BIN)
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ \
		./services/standalone/cmd/hangar ./services/gateway/cmd/gateway ./services/meta/cmd/meta \
		./services/blocks/cmd/blocks ./services/admin/cmd/admin ./services/gateway/cmd/floor

run: build ## build, start Hangar on ./data, print how to use it
	@exec $(BIN)/hangar server --data $(DATA)

test: build clients unit e2e faults ## all tests: units, then real processes with real clients, then faults

unit: ## unit, conformance, simulation and real-NATS/real-Badger tests
	$(SAY) "Unit tests"
	@set -e; for m in $(UNITS); do echo "--- $$m"; (cd $$m && $(GO) test -timeout 10m ./...); done
	@cd tests && $(GO) test -count=1 ./tidy/... ./harness/...
	@cd tests/observability && GOWORK=off $(GO) test ./...

e2e: build clients ## end-to-end tests with real clients
	$(SAY) "End-to-end tests"
	@cd tests && $(GO) test -p 1 -timeout 20m -count=1 -v ./e2e/... ./geo/... | grep -vE '^=== (RUN|PAUSE|CONT)'; exit $${PIPESTATUS[0]}

faults: build ## the short form of consistency and durability under faults
	$(SAY) "Consistency and durability under faults (short form)"
	@cd tests && $(GO) test -timeout 15m -count=1 -v ./consistency/... | grep -vE '^=== (RUN|PAUSE|CONT)'; exit $${PIPESTATUS[0]}

consistency: build ## the long form; HANGAR_SEED=… and HANGAR_LENGTH=… repeat a run
	$(SAY) "Consistency under faults (long form)"
	@cd tests && HANGAR_LONG=1 $(GO) test -timeout 2h -count=1 -v -run 'TestFaults|TestRegressions|TestLeftBehind|TestFence$$|TestDriverDies' ./consistency | grep -vE '^=== (RUN|PAUSE|CONT)'; exit $${PIPESTATUS[0]}

durability: build ## ten thousand objects outlive nodes, zones and disks
	$(SAY) "Durability (long form)"
	@cd tests && HANGAR_LONG=1 $(GO) test -timeout 75m -count=1 -v -run TestDurability ./consistency | grep -vE '^=== (RUN|PAUSE|CONT)'; exit $${PIPESTATUS[0]}

MUTANTS := $(CURDIR)/$(BIN)/mutations
consistency-bites: ## binaries with one rule of the protocol switched off lose against the consistency tests
	$(SAY) "Binaries with a rule switched off"
	@mkdir -p $(MUTANTS)
	@CGO_ENABLED=0 $(GO) build -trimpath -tags mutations -ldflags '$(LDFLAGS)' -o $(MUTANTS)/ \
		./services/standalone/cmd/hangar ./services/gateway/cmd/gateway ./services/meta/cmd/meta \
		./services/blocks/cmd/blocks ./services/admin/cmd/admin
	@cd tests && HANGAR_MUTANTS=$(MUTANTS) $(GO) test -timeout 1h -count=1 -v -run 'TestBites|TestFenceBites|TestBehindBites' ./consistency | grep -vE '^=== (RUN|PAUSE|CONT)'; exit $${PIPESTATUS[0]}

race: ## unit tests with the race detector
	$(SAY) "Unit tests with the race detector"
	@set -e; for m in $(UNITS); do echo "--- $$m"; (cd $$m && $(GO) test -race -short -timeout 15m ./...); done

check: fmt vet lint tidy race ## everything that must be green before a commit

fmt:
	$(SAY) "Format"
	@out=$$(gofmt -l $(MODULES)); if [ -n "$$out" ]; then echo "not formatted:"; echo "$$out"; exit 1; fi

vet:
	$(SAY) "Vet"
	@set -e; for m in $(MODULES); do (cd $$m && $(GO) vet ./...); done

lint: $(LINT)
	$(SAY) "Lint"
	@set -e; for m in $(MODULES); do (cd $$m && $(LINT) run --config $(CURDIR)/.golangci.yml ./...); done

$(LINT):
	$(SAY) "Building golangci-lint $(LINT_VERSION) (once; a few minutes)"
	@GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

tidy:
	$(SAY) "Tidy"
	@set -e; for m in $(MODULES); do (cd $$m && GOWORK=off $(GO) mod tidy -diff >/dev/null || { echo "$$m: go.mod is not tidy: run GOWORK=off go mod tidy there"; exit 1; }); done
	@cd tests && $(GO) test -count=1 ./tidy/...

bench: build ## speed, beside the floor: the same HTTP edge without storage
	@$(GO) run ./bench/cmd/bench -bin $(BIN) $(ARGS)

bench-polls: build ## polls of K2V: how soon a write wakes them, and what ten thousand cost that wait
	@$(GO) run ./bench/cmd/bench -bin $(BIN) -polls $(ARGS)

bench-geo: build ## requests between three zones, in round trips; needs root
	@cd tests && $(GO) test -count=1 -run '^$$' -bench 'Requests|Items' -benchtime 15x -timeout 20m ./geo

clients: ## install the S3 clients that the tests use, where missing
	@tests/clients.sh

# The deployment of containers: deploy/compose. Processes run as the user who
# says make up, or as nobody in particular where that is root.
COMPOSE_DIR := deploy/compose
IMAGES      := $(BIN)/images
SECRETS     := $(COMPOSE_DIR)/secrets
OWNER       := $(shell id -u | sed 's/^0$$/65532/')
DOCKER_ARCH  = $(shell docker version --format '{{.Server.Arch}}')
COMPOSE      = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose) \
	--project-directory $(COMPOSE_DIR) -f $(COMPOSE_DIR)/compose.yaml

up: images ## start a cluster of containers (deploy/compose) and print how to use it; SCALE=4 gateways
	$(SAY) "Starting the cluster"
	@$(BIN)/hangar init secrets --data $(SECRETS) --owner $(OWNER) $(addprefix --host ,$(HOSTS))
	@printf 'COMPOSE_PROJECT_NAME=hangar\nHANGAR_UID=%s\n' $(OWNER) >$(COMPOSE_DIR)/.env
	@$(COMPOSE) up -d --build $(if $(SCALE),--scale gateway=$(SCALE))
	@$(BIN)/hangar init cluster --data $(SECRETS) --meta 3 --blocks 3

down: ## stop the cluster of containers; its data stays
	@$(COMPOSE) down

images: build
	$(SAY) "Binaries for the images"
	@mkdir -p $(IMAGES)/data
	@CGO_ENABLED=0 GOOS=linux GOARCH=$(DOCKER_ARCH) $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(IMAGES)/ \
		./services/standalone/cmd/hangar ./services/gateway/cmd/gateway ./services/meta/cmd/meta \
		./services/blocks/cmd/blocks ./services/admin/cmd/admin
	@cp $(COMPOSE_DIR)/Dockerfile $(IMAGES)/
	@$(COMPOSE_DIR)/balancer.sh $(IMAGES)/haproxy

compose-test: images clients ## the cluster of containers with a zone lost, gateways added and restarted
	$(SAY) "Containers"
	@cd tests && $(GO) test -tags compose -timeout 20m -count=1 -v ./compose | grep -vE '^=== (RUN|PAUSE|CONT)'; exit $${PIPESTATUS[0]}

JAEGER := $(TOOLS)/jaeger
$(JAEGER): tests/jaeger/go.mod
	$(SAY) "Building Jaeger (once; some minutes)"
	@mkdir -p $(TOOLS)
	@cd tests/jaeger && GOWORK=off $(GO) build -o $@ github.com/jaegertracing/jaeger/cmd/all-in-one

COLLECTOR := $(TOOLS)/collector
$(COLLECTOR): tests/collector/go.mod tests/collector/main.go
	$(SAY) "Building the OpenTelemetry collector (once; some minutes)"
	@mkdir -p $(TOOLS)
	@cd tests/collector && GOWORK=off $(GO) build -o $@ .

trace-test: build $(JAEGER) $(COLLECTOR) ## one request is one trace, as a real trace backend (Jaeger) shows it, also through the collector
	$(SAY) "Traces in Jaeger"
	@cd tests && JAEGER_BIN=$(JAEGER) COLLECTOR_BIN=$(COLLECTOR) $(GO) test -count=1 -v -run TestJaeger ./e2e | grep -vE '^=== (RUN|PAUSE|CONT)'; exit $${PIPESTATUS[0]}

clean: ## remove what was built; with DATA_TOO=yes also the containers' data and secrets
	@if [ "$(DATA_TOO)" = yes ]; then $(COMPOSE) down --volumes && rm -rf $(SECRETS) $(COMPOSE_DIR)/.env; fi
	rm -rf $(BIN)
