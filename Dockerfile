# The harness with everything it needs.  Run with --privileged, or with only
#   --cap-add NET_ADMIN --cap-add SYS_ADMIN --device /dev/net/tun
#   docker build -t quic-call-harness .
#   docker run --rm --privileged -v "$PWD/artifacts:/harness/artifacts" quic-call-harness make scenario NAME=migration
FROM debian:trixie-slim
WORKDIR /harness
COPY .ci/base-packages .ci/base-packages
RUN .ci/base-packages
COPY requirements.lock pyproject.toml README.md LICENSE Makefile ./
COPY .ci/system-packages .ci/system-packages
COPY harness/__init__.py harness/__init__.py
RUN make .venv/.installed
COPY . .
CMD ["make", "help"]
