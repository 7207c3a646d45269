# One replica of Holdfast. It keeps nothing: all state is in the Redis that HOLDFAST_REDIS_URL names.
#
# There is no redis-server in here, so the private Redis of `make run` is not to be had in a container: its data would
# be lost with the container's layer unless somebody thought of a volume, and then only one replica could use it. Redis
# has an image of its own; compose.yaml joins the two.

ARG RUST_VERSION=1.95
ARG DEBIAN_VERSION=bookworm

FROM rust:${RUST_VERSION}-slim-${DEBIAN_VERSION} AS build
WORKDIR /build

# The dependencies first, on empty sources: this layer is built again only when a manifest changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/suite bench \
    && echo 'fn main() {}' | tee src/main.rs bench/scripts.rs > tests/suite/main.rs \
    && touch src/lib.rs \
    && cargo build --release --locked

# Cargo goes by times, and the sources may be older than the empty ones that it has just built.
COPY . .
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked

# The same Debian as above, for the same C library.
FROM debian:${DEBIAN_VERSION}-slim

# Certificates for `rediss://`, and curl to ask for the state of health.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin holdfast

COPY --from=build /build/target/release/holdfast /usr/local/bin/holdfast

# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
# In a container, loopback would be reachable by nobody.
ENV HOLDFAST_LISTEN=0.0.0.0:8080
EXPOSE 8080

# Ready, not merely alive: a replica that cannot reach Redis is of no use to a caller.
HEALTHCHECK --interval=5s --timeout=5s --retries=3 --start-period=10s \
    CMD ["curl", "--fail", "--silent", "--show-error", "--max-time", "3", "http://127.0.0.1:8080/readyz"]

# Ends streams over HOLDFAST_DRAIN_SECONDS; give it longer than that before killing it.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/holdfast"]
CMD ["serve"]
