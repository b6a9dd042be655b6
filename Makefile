.PHONY: help run test bench soak docs build

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

run: ## the whole product offline: API, simulators, inbox
	go run ./cmd/comecomepay sandbox

test: ## all tests on both database engines (installs what they need on Debian and Ubuntu)
	./test

bench: ## measure, and print the figures of docs/performance.md
	go run ./bench

soak: ## all tests, those of random programs, faults, races and kills for DURATION each, default 10m
	CCP_TEST_SOAK=$${DURATION:-10m} ./test -count=1 -timeout 24h ./internal/...

docs: ## write the generated pages anew: configuration and OpenAPI
	go test -count=1 ./internal/app -run TestConfigurationPageIsCurrent -update
	go run ./cmd/comecomepay openapi > docs/openapi.yaml.new
	mv docs/openapi.yaml.new docs/openapi.yaml

build: ## one static binary: bin/comecomepay
	CGO_ENABLED=0 go build -trimpath -o bin/comecomepay ./cmd/comecomepay
