# The predictor and its server, and nothing else: build with `docker build -t predictor .`
FROM python:3.13-slim-trixie AS base

FROM base AS build
WORKDIR /opt/project
ENV PYTHONPATH=/opt/project PYTHONPYCACHEPREFIX=/opt/project/pycache PYTHONDONTWRITEBYTECODE=1

COPY requirements requirements
RUN python -m pip install --no-cache-dir --no-compile --only-binary :all: --require-hashes \
      --target . --requirement requirements/serve.txt \
 && rm -rf bin requirements

COPY LICENSE ./
COPY models models
COPY reports reports
COPY stages stages
# the two commands
RUN mkdir bin \
 && printf '#!/bin/sh\nexec python -P -m stages.%s "$@"\n' predict > bin/predict \
 && printf '#!/bin/sh\nexec python -P -m stages.%s "$@"\n' 'serve --host 0.0.0.0' > bin/serve \
 && chmod -R a+rX,go-w . && chmod a+x bin/*
# What they import is compiled, without the time of the source, so that two builds are the same.
RUN python -c "import py_compile, sys, duckdb, urllib.request, \
      granian.server.embed, stages.predict, stages.serve, stages.predictor.application; [ \
      py_compile.compile(module.__file__, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH) \
      for module in list(sys.modules.values()) if (getattr(module, '__file__', None) or '').endswith('.py')]" \
 && bin/predict < /dev/null

FROM base
COPY --from=build /opt/project /opt/project
ENV PATH=/opt/project/bin:$PATH PYTHONPATH=/opt/project \
    PYTHONPYCACHEPREFIX=/opt/project/pycache PYTHONDONTWRITEBYTECODE=1 \
    TMPDIR=/tmp TMP=/dev/shm
# a pipe goes through a file in TMPDIR, or where the disk is read-only, in the 64 MB of TMP
WORKDIR /data
USER 65532:65532
EXPOSE 8080
# a container that predicts a file has no server, and is healthy
# hadolint ignore=DL3025
HEALTHCHECK --interval=10s --timeout=3s \
  CMD ! grep -qzxE '(stages[.])?serve' /proc/1/cmdline || \
      python -PSc "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/v2/health/ready')"
CMD ["predict"]

ARG SOURCE=unknown
ARG REVISION=unknown
ARG VERSION=unknown
LABEL org.opencontainers.image.description="Predicts with a linear regression of n-bit weights" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT"
