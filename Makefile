.PHONY: build test race lint bench bench-peers pgo torture soak simulate mutants fuzz packages ci

build: # all programs, into bin/
	go build -o bin/ ./cmd/...

test:
	go test ./...

race:
	go test -race ./...

lint:
	.ci/lint

bench: build # GETs and SETs against Redis, on this machine, in a minute
	cd stress/peers && go run . -rounds 1 -time 2s -rows '^(random GET|random durable SET|ordered load)$$'

bench-peers: build # everything that is aimed at, beside Redis, pebble and bbolt; about 15 minutes
	cd stress/peers && go run .

pgo: # cmd/*/default.pgo, from loads on the servers as they are now
	.ci/pgo

torture: # the long runs; the ordinary ones do a fixed slice of each
	KIVALOO_TORTURE=1 go test -count=1 -timeout=12h ./...

soak: # 10 million operations on every form of a store, and an hour of load that must not make anything grow
	KIVALOO_SOAK=1h go test ./cmd/internal/blackbox -count=1 -timeout=12h -v -run '^(TestOneHistory|TestSoak)$$'

simulate: # power cuts in simulated stores, until it is stopped; prints states/s, and how to replay a failure
	KIVALOO_SIMULATE=on go test ./tree -count=1 -timeout=0 -v -run '^TestSimulate$$' | grep --line-buffered -v '^=== RUN'

mutants: # breaks the code in each way that cmd/internal/mutants lists, and prints which test notices, and how fast
	KIVALOO_MUTANTS=all go test ./cmd/internal/mutants -count=1 -timeout=2h -v -run '^TestMutants$$'

FUZZTIME = 10m
fuzz: # every fuzz test for FUZZTIME, two at a time
	FUZZTIME=$(FUZZTIME) .ci/fuzz

packages: # a .deb and a .rpm, in bin/packages
	contrib/package/build bin/packages

ci:
	.ci/run
