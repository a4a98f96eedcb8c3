.PHONY: build test race lint bench pgo torture ci

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

pgo: # cmd/*/default.pgo, from loads on the servers as they are now
	.ci/pgo

bench-peers: build # everything that is aimed at, beside Redis, pebble and bbolt; about 12 minutes
	cd stress/peers && go run .

torture: # the long runs; the ordinary ones do a fixed slice of each
	KIVALOO_TORTURE=1 go test -count=1 -timeout=12h ./...

ci:
	.ci/run
