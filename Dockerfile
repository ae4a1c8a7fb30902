FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --release --locked --workspace --bins && mkdir /binaries && \
    cp target/release/messenger target/release/messenger-auth target/release/messenger-conversation \
       target/release/messenger-message target/release/messenger-gateway /binaries/

FROM debian:bookworm-slim
RUN useradd --system --create-home messenger
COPY --from=build /binaries/ /usr/local/bin/
USER messenger
WORKDIR /home/messenger
CMD ["messenger"]
