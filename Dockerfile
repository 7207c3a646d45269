# One replica of Holdfast. It is stateless: all state is in the Redis that HOLDFAST_REDIS_URL names.
#
# The image has no redis-server, so a container cannot run the private Redis of `make run`: its data would be lost with
# the container's layer unless somebody thought of a volume, and only one replica could use it. compose.yaml runs Redis
# from its own image.

ARG RUST_VERSION=1.95
ARG NODE_VERSION=22
ARG DEBIAN_VERSION=bookworm

# The pages that the binary serves. The packages first, on manifests alone, for the same reason as below.
FROM node:${NODE_VERSION}-${DEBIAN_VERSION}-slim AS web
WORKDIR /build
COPY web/package.json web/package-lock.json web/.npmrc web/
COPY web/dashboard/package.json web/dashboard/
COPY web/guide/package.json web/guide/
COPY web/reference/package.json web/reference/
RUN cd web && npm ci --ignore-scripts --no-audit --no-fund
COPY web web
COPY docs docs
COPY openapi openapi
RUN cd web && npm run build

FROM rust:${RUST_VERSION}-slim-${DEBIAN_VERSION} AS build
WORKDIR /build

# The dependencies first, on empty sources: this layer is built again only when a manifest changes. Cargo wants a file for
# every target that Cargo.toml declares, those of tests and benchmarks too, which .dockerignore keeps out.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/suite bench \
    && echo 'fn main() {}' | tee src/main.rs bench/functions.rs bench/queues.rs > tests/suite/main.rs \
    && touch src/lib.rs \
    && cargo build --release --locked

# Cargo compares modification times, and the real sources may be older than the empty ones just built.
COPY . .
COPY --from=web /build/web/dist web/dist
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked

# The same Debian as above, for the same C library.
FROM debian:${DEBIAN_VERSION}-slim

# Certificates for `rediss://`; curl for the health check.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin holdfast

COPY --from=build /build/target/release/holdfast /usr/local/bin/holdfast

# A numeric user, so that an orchestrator can verify that it is not root.
USER 10001:10001
# In a container, nobody could reach loopback.
ENV HOLDFAST_LISTEN=0.0.0.0:8080
EXPOSE 8080

# Readiness, not liveness: a replica that cannot reach Redis is of no use to a caller.
HEALTHCHECK --interval=5s --timeout=5s --retries=3 --start-period=10s \
    CMD ["curl", "--fail", "--silent", "--show-error", "--max-time", "3", "http://127.0.0.1:8080/readyz"]

# SIGTERM drains over HOLDFAST_DRAIN_SECONDS; the time before SIGKILL must be longer.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/holdfast"]
CMD ["serve"]
