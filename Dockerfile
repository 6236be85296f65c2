# The harness, small: Debian's Python, libnftables, and the packages of requirements.lock that runs and their tests need.
#
#   docker build -t quic-call-harness .
#   mkdir -p artifacts
#   docker run --rm --privileged -v "$PWD/artifacts:/artifacts" quic-call-harness scenario NAME=migration
#   docker run --rm --cap-add NET_ADMIN --cap-add SYS_ADMIN quic-call-harness test
#
# More ways to run it, and what each needs: docs/platforms.md.  What goes in (names by .ci/lock.py, --build-arg PARTS="…"):
#   run                        enough for scenarios: the smallest image
#   run scapy hypothesis pyyaml   the default: `test` runs every test but lint, types and those of real codecs, and says so
#   run dev media              everything.  PyAV's wheels (media) carry FFmpeg with its GPL parts: mind that before you hand the image on
# The base is pinned by its digest; where no registry is at hand: --build-arg BASE=debian:trixie-slim, or bookworm-slim.
ARG BASE=debian:trixie-slim@sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f

FROM ${BASE} AS system
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libnftables1 make python3 >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/cache/debconf/*-old /var/log/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*

FROM system AS packages
ARG PARTS="run scapy hypothesis pyyaml"
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
WORKDIR /harness
COPY .ci/lock.py .ci/lock.py
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY harness/__init__.py harness/__init__.py
# pip and setuptools install, and are left behind; what is imported is compiled here, since who runs it may not write there.
RUN python3 -m venv .venv \
 && python3 .ci/lock.py ${PARTS} >wanted.txt && python3 .ci/lock.py build >tools.txt \
 && .venv/bin/python -m pip install --quiet --no-cache-dir --require-hashes --no-deps --only-binary :all: -r wanted.txt -r tools.txt \
 && .venv/bin/python -m pip install --quiet --no-cache-dir --no-deps --no-build-isolation -e . \
 && .venv/bin/python -m pip uninstall --quiet --yes setuptools pip \
 && rm -rf .venv/bin/[Aa]ctivate* .venv/include

FROM system
LABEL org.opencontainers.image.title="quic-call-harness" org.opencontainers.image.licenses="MIT"
WORKDIR /harness
COPY --from=packages /harness/.venv .venv
COPY . .
# Whoever runs it may write /artifacts (a mounted folder, or nothing) and /tmp, and nothing else.
RUN python3 -m compileall -q harness topologies scenarios tests .venv \
 && touch .venv/.installed && ln -s /artifacts artifacts && mkdir -m 1777 /artifacts
ENV PATH=/harness/.venv/bin:$PATH HARNESS_IMAGE=1
ENTRYPOINT ["/usr/bin/python3", "/harness/.docker/entrypoint.py"]
CMD ["help"]
