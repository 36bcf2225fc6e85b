# One image for every job, Airflow and the endpoint: what `make setup` installs, on Debian.
FROM python:3.11-slim-bookworm
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openjdk-17-jre-headless libopenblas0-serial procps \
 && rm -rf /var/lib/apt/lists/*
ENV PYTHONUNBUFFERED=1 MLFLOW_DISABLE_TELEMETRY=true MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false GX_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
WORKDIR /opt/marquee
COPY requirements.lock ./
RUN pip install --quiet --no-cache-dir uv==0.13.9 \
 && uv pip install --quiet --system --no-cache --compile-bytecode --require-hashes -r requirements.lock
COPY setup.cfg pyproject.toml README.md ./
COPY feature_defs ./feature_defs
COPY pipelines ./pipelines
COPY jobs ./jobs
COPY dags ./dags
COPY infra/cassandra ./infra/cassandra
# The endpoint's rules, compiled; the compiler does not stay.
COPY Makefile ./
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev make \
 && make pipelines/serving/arrange.so \
 && apt-get purge -y -qq --auto-remove gcc libc6-dev make \
 && rm -rf /var/lib/apt/lists/* Makefile
RUN uv pip install --quiet --system --no-deps --editable . \
 && useradd --create-home marquee && mkdir /data && chown marquee /data
USER marquee
VOLUME /data
ENTRYPOINT ["python", "-m"]
