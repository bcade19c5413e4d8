# Two images of the same source: `api` without torch, `worker` with torch.
FROM python:3.11-slim AS base
WORKDIR /app
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 1000 pagewright && install -d -o pagewright /data
# The dependencies are installed first, in a layer that a change of the source does not rebuild.
COPY pyproject.toml constraints.txt README.md ./
RUN mkdir api db migrations models pagewright workers

FROM base AS api
RUN pip install -c constraints.txt '.[s3]' && pip uninstall --yes pagewright
COPY . .
RUN pip install --no-deps .
USER pagewright
EXPOSE 8000
CMD ["pagewright", "api"]

FROM base AS worker
RUN pip install -c constraints.txt '.[worker,s3]' && pip uninstall --yes pagewright
COPY . .
RUN pip install --no-deps .
USER pagewright
CMD ["pagewright", "worker", "--role", "inference"]
