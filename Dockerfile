# kivaloo in an image of its own: static programs, a user that is not root, nothing else.
#
#	docker build -t kivaloo .
#	docker run -d --name kv -v kivaloo:/data kivaloo
#	docker exec kv kivaloo set greeting hello
#
# Clients reach the socket in the volume: -v kivaloo:/data, and the same user (--user 65532) or
# group. For clients of other machines, run kivaloo-mux with TLS from the same image, beside it:
# --entrypoint kivaloo-mux, with the options that docs/exposing.md explains and --foreground.
FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /out/bin/ ./cmd/... && mkdir /out/data

FROM scratch
COPY --from=build /out/bin/ /bin/
COPY --from=build --chown=65532:65532 /out/data /data
COPY LICENSE /
ENV PATH=/bin KIVALOO_ADDR=/data
USER 65532:65532
VOLUME /data
STOPSIGNAL SIGTERM
# A start replays the journal of a killed server first, which may take minutes for a large one.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --retries=3 \
	CMD ["kivaloo", "params", "--timeout", "4s"]
ENTRYPOINT ["kivaloo"]
CMD ["serve", "--dir", "/data"]
