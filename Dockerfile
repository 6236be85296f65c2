# The harness with everything it needs.  Run with --privileged, or with only
#   --cap-add NET_ADMIN --cap-add SYS_ADMIN --device /dev/net/tun
#   docker build -t quic-call-harness .
#   docker run --rm --privileged -v "$PWD/artifacts:/harness/artifacts" quic-call-harness make scenario NAME=migration
FROM debian:trixie-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends git make nftables python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /harness
COPY requirements.lock pyproject.toml README.md LICENSE Makefile ./
COPY .ci/system-packages .ci/system-packages
COPY harness/__init__.py harness/__init__.py
RUN make .venv/.installed
COPY . .
CMD ["make", "help"]
