.PHONY: build test race lint bench bench-peers stages torture ci

build: # all programs, into bin/
	go build -o bin/ ./cmd/...

test:
	go test ./...

race:
	go test -race ./...

lint:
	.ci/lint

bench: # against Redis, on this machine, at once
	go run ./cmd/kivaloo-stress redis

bench-peers: build # everything that is to be reached, beside Redis, bbolt and pebble
	cd stress/peers && go run .

stages: build # where the time of a server goes; the profiles stay in bin/profiles
	cd stress/peers && go run . -profiles $(CURDIR)/bin/profiles

torture: # the long runs; the ordinary ones do a fixed slice of each
	KIVALOO_TORTURE=1 go test -count=1 -timeout=12h ./...

ci:
	.ci/run
