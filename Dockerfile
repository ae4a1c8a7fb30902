# syntax=docker/dockerfile:1
# The manifests alone: what follows from them is built anew only when they change.
FROM debian:bookworm-slim AS manifests
WORKDIR /source
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock -delete && find . -type d -empty -delete

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY --from=manifests /source .
# Every dependency, below crates without code.
RUN for manifest in */Cargo.toml */*/Cargo.toml; do \
      folder=$(dirname "$manifest"); mkdir -p "$folder/src"; \
      touch "$folder/src/lib.rs"; echo 'fn main() {}' >"$folder/src/main.rs"; \
    done; echo 'fn main() {}' >proto/build.rs
RUN --mount=type=cache,target=/usr/local/cargo/registry cargo build --release --locked --workspace --bins
COPY . .
# Newer than what was built in their place.
RUN find . -path ./target -prune -o \( -name '*.rs' -o -name '*.proto' \) -exec touch {} +
RUN --mount=type=cache,target=/usr/local/cargo/registry cargo build --release --locked --bins \
      -p messenger-standalone -p messenger-auth -p messenger-conversation -p messenger-message -p messenger-gateway \
    && mkdir /binaries && for name in messenger messenger-auth messenger-conversation messenger-message messenger-gateway; \
      do objcopy --strip-debug target/release/$name /binaries/$name; done

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --create-home messenger
COPY --from=build /binaries/ /usr/local/bin/
COPY --chmod=755 deploy/entrypoint.sh /usr/local/bin/entrypoint
COPY --chmod=755 deploy/ready.sh /usr/local/bin/ready
USER messenger
WORKDIR /home/messenger
ENTRYPOINT ["entrypoint"]
CMD ["messenger"]
