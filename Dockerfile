# The predictor and its server, and nothing else: build with `docker build -t predictor .`
FROM python:3.13-slim-trixie AS base

FROM base AS build
WORKDIR /opt/project
ENV PYTHONPATH=/opt/project PYTHONPYCACHEPREFIX=/opt/project/pycache PYTHONDONTWRITEBYTECODE=1

# DuckDB and the server at the versions, and with the hashes, that requirements.txt has for them
COPY requirements.txt /tmp/
RUN sed -nE '/^(click|duckdb|httptools|msgspec|prometheus-client|uvicorn)==/,/[^\\]$/p' \
      /tmp/requirements.txt > /tmp/image.txt \
 && python -m pip install --no-cache-dir --no-compile --no-deps --only-binary :all: \
      --require-hashes --target . --requirement /tmp/image.txt

COPY LICENSE ./
COPY models models
COPY reports reports
COPY stages stages
# What they import is compiled, without the time of the source, so that two builds are the same.
# `docker run predictor predict FILE` is the same as `docker run predictor FILE`.
# hadolint ignore=SC2016
RUN rm -rf bin && mkdir bin \
 && printf '%s\n' '#!/bin/sh' 'case "$1" in' \
      'serve) shift; exec python -P -m stages.serve --host 0.0.0.0 "$@" ;;' \
      'predict) shift ;;' \
      'esac' 'exec python -P -m stages.predict "$@"' > bin/predict \
 && python -c "import py_compile, sys, tempfile, duckdb, stages.predict, stages.serve; [ \
      py_compile.compile(module.__file__, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH) \
      for module in list(sys.modules.values()) if (getattr(module, '__file__', None) or '').endswith('.py')]" \
 && chmod -R a+rX,go-w . && chmod a+x bin/predict \
 && bin/predict < /dev/null

FROM base
COPY --from=build /opt/project /opt/project
ENV PATH=/opt/project/bin:$PATH PYTHONPATH=/opt/project \
    PYTHONPYCACHEPREFIX=/opt/project/pycache PYTHONDONTWRITEBYTECODE=1
WORKDIR /data
USER 65532:65532
# a container that predicts a file has no server, and is healthy
EXPOSE 8080
# hadolint ignore=DL3025
HEALTHCHECK --interval=10s --timeout=3s \
  CMD ! grep -qzxE '(stages[.])?serve' /proc/1/cmdline || python -ISc "import socket; \
      s = socket.create_connection(('127.0.0.1', 8080), 2); \
      s.sendall(b'GET /v2/health/ready HTTP/1.0\r\n\r\n'); raise SystemExit(b' 200 ' not in s.recv(64))"
ENTRYPOINT ["predict"]

ARG SOURCE=unknown
ARG REVISION=unknown
ARG VERSION=unknown
LABEL org.opencontainers.image.description="Predicts with a linear regression of n-bit weights" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT"
