.PHONY: help run test bench soak docs build

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

run: ## the whole product offline: API, simulators, inbox
	go run ./cmd/comecomepay sandbox

test: ## all tests on both database engines (installs what they need on Debian and Ubuntu)
	./test

bench: ## measure, and print the figures of docs/performance.md
	go run ./bench

soak: ## repeat the tests of faults and races until DURATION is over, default 30m
	@end=$$(( $$(date +%s) + $$(echo "$${DURATION:-30m}" | sed 's/h$$/*3600/; s/m$$/*60/; s/s$$//') )); \
	while [ $$(date +%s) -lt $$end ]; do ./test -count=1 ./internal/... || exit 1; done

docs: ## write the generated pages anew: configuration and OpenAPI
	go test -count=1 ./internal/app -run TestConfigurationPageIsCurrent -update
	go run ./cmd/comecomepay openapi > docs/openapi.yaml.new
	mv docs/openapi.yaml.new docs/openapi.yaml

build: ## one static binary: bin/comecomepay
	CGO_ENABLED=0 go build -trimpath -o bin/comecomepay ./cmd/comecomepay
