# Fluent Bit's official image with the plugin and tail-containers.
#
#   docker build -t fluent-bit-container-logs .
#   docker build -t fluent-bit-container-logs --build-arg FLUENT_BIT=fluent/fluent-bit:4.2.8 .
#
# From an unpacked release instead of the source (nothing is compiled, for any tag):
#
#   docker build -t fluent-bit-container-logs -f packaging/Dockerfile fluent-bit-container-logs-…/

ARG FLUENT_BIT=fluent/fluent-bit:5.1.1
# Its glibc must not be newer than that of Fluent Bit's image: 2.31 is of those up to 3.0.6.
ARG RUST=rust:1.91-bullseye

FROM ${RUST} AS plugin
RUN apt-get update && apt-get install -y --no-install-recommends libclang-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
ARG COMMIT=unknown
RUN CLOGS_COMMIT=${COMMIT} make \
    && strip target/release/flb-in_container_logs.so target/release/tail-containers

# The plugin alone, which a container of it copies to the folder /plugins: for an init
# container beside an image of Fluent Bit that stays as it is (docker build --target copy .).
FROM busybox:1.37 AS copy
COPY --from=plugin /source/target/release/flb-in_container_logs.so /plugin/
CMD ["cp", "/plugin/flb-in_container_logs.so", "/plugins/"]

FROM ${FLUENT_BIT}
COPY --from=plugin /source/target/release/flb-in_container_logs.so /fluent-bit/plugins/
COPY --from=plugin /source/target/release/tail-containers /fluent-bit/bin/
