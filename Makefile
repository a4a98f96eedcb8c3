.PHONY: build test race lint bench bench-peers stages pgo torture ci

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

bench-peers: build # everything that is aimed at, beside Redis, pebble and bbolt; about 15 minutes
	cd stress/peers && go run .

stages: build # where the time of a server goes; the profiles stay in bin/profiles
	cd stress/peers && go run . -profiles $(CURDIR)/bin/profiles

pgo: # cmd/*/default.pgo, from loads on the servers as they are now
	.ci/pgo

torture: # the long runs; the ordinary ones do a fixed slice of each
	KIVALOO_TORTURE=1 go test -count=1 -timeout=12h ./...

ci:
	.ci/run
