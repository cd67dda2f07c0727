# The predictor, and nothing else: build with `docker build -t predictor .`
FROM python:3.13-slim-trixie AS base

FROM base AS build
WORKDIR /opt/project
ENV PYTHONPATH=/opt/project PYTHONPYCACHEPREFIX=/opt/project/pycache PYTHONDONTWRITEBYTECODE=1

# DuckDB at the version, and with the hashes, that requirements.txt has for it
COPY requirements.txt /tmp/
RUN sed -n '/^duckdb==/,/[^\\]$/p' /tmp/requirements.txt > /tmp/duckdb.txt \
 && python -m pip install --no-cache-dir --no-compile --no-deps --only-binary :all: \
      --require-hashes --target . --requirement /tmp/duckdb.txt

COPY LICENSE ./
COPY models models
COPY reports reports
COPY stages stages
# What predict imports is compiled, without the time of the source, so that two builds are the same.
# `docker run predictor predict FILE` is the same as `docker run predictor FILE`.
# hadolint ignore=SC2016
RUN mkdir bin \
 && printf '#!/bin/sh\nif [ "$1" = predict ]; then shift; fi\nexec python -P -m stages.predict "$@"\n' > bin/predict \
 && python -c "import py_compile, sys, tempfile, duckdb, stages.predict; [ \
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
ENTRYPOINT ["predict"]

ARG SOURCE=unknown
ARG REVISION=unknown
ARG VERSION=unknown
LABEL org.opencontainers.image.description="Predicts with a linear regression of n-bit weights" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT"
