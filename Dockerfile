# The service and its engine: `flowops serve` or `flowops engine`. How to run it: docs/environment.md.
#
# The base is Debian's own image, by the name of its release: the release fixes the versions of all libraries, and a rebuild takes in
# its security updates. Who needs the same bytes again passes a digest: --build-arg BASE=debian@sha256:...
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS build
WORKDIR /src
# The list of packages before the sources: a change of the latter does not install anything again.
COPY tools/install-packages tools/
RUN tools/install-packages build && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY . .
RUN meson setup --buildtype=release -Dtests=disabled build \
    && ninja -C build flowops \
    && install -s -D build/flowops /out/flowops \
    && rm -rf build

FROM ${BASE}
# What the program links to; certificates for TLS to Kafka and MongoDB; time zones for schedules.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates libevent-core-2.1-7 libevent-extra-2.1-7 libglib2.0-0 libjson-c5 libmongoc-1.0-0 libpcre2-8-0 \
        librdkafka1 libsqlite3-0 libssl3 tzdata \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log \
    && groupadd --system --gid 10001 flowops \
    && useradd --system --uid 10001 --gid flowops --home-dir /var/lib/flowops --shell /usr/sbin/nologin flowops \
    && install -d -o flowops -g flowops -m 0700 /var/lib/flowops
COPY --from=build /out/flowops /usr/bin/flowops

LABEL org.opencontainers.image.title="FlowOps Execution Service" \
      org.opencontainers.image.description="Keeps workflows and runs them, durably" \
      org.opencontainers.image.licenses="GPL-3.0-or-later"

# By number, so that a cluster can see that it is not root.
USER 10001:10001
# A container's port is reached from outside of it; AUTH_MODE then has to be chosen.
ENV LISTEN_ADDR=0.0.0.0 DATA_DIR=/var/lib/flowops
VOLUME /var/lib/flowops
EXPOSE 8080
# It starts no process, so there is nothing to reap, and waits for SIGTERM itself: as process 1 it needs no init.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["flowops", "health"]
ENTRYPOINT ["/usr/bin/flowops"]
CMD ["serve"]
