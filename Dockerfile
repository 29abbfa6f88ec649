# One binary, one image; the command is the process.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p spark-cli

FROM debian:bookworm-slim
RUN useradd --system --home-dir /data --create-home spark
COPY --from=build /src/target/release/spark /usr/local/bin/spark
USER spark
VOLUME /data
ENTRYPOINT ["spark"]
CMD ["--help"]
