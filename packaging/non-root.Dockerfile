# An image of the other Dockerfiles for a user that is not root. Docker and Kubernetes give such
# a user no capability, so the program's file has it: CAP_DAC_READ_SEARCH, to read files of
# other users, and nothing more.
#
#   docker build -t container-logs-non-root -f packaging/non-root.Dockerfile \
#       --build-arg IMAGE=fluent-bit-container-logs packaging
#   docker run --read-only --cap-drop ALL --cap-add DAC_READ_SEARCH … container-logs-non-root
#
# Not with `no-new-privileges` (allowPrivilegeEscalation: false), which takes the capability away:
# then root with that one capability, as in examples/compose and examples/kubernetes. Without
# `--cap-add` the program does not start ("operation not permitted").

ARG IMAGE=fluent-bit-container-logs
# Where setcap is, or can be installed with apt.
ARG TOOLS=debian:trixie-slim

FROM ${IMAGE} AS image

FROM ${TOOLS} AS capable
RUN command -v setcap || { apt-get update && apt-get install -y --no-install-recommends libcap2-bin; }
COPY --from=image /fluent-bit/bin/ /fluent-bit/bin/
RUN setcap cap_dac_read_search=ep /fluent-bit/bin/fluent-bit && mkdir /positions

FROM ${IMAGE}
COPY --from=capable /fluent-bit/bin/ /fluent-bit/bin/
# A volume that is mounted here for the DB begins as this user's.
COPY --from=capable --chown=65532:65532 /positions/ /var/lib/fluent-bit/
USER 65532:65532
