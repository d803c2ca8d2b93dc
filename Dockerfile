# The server, without torch:   docker build --target serve -t graphhand . && docker run --rm -p 8000:8000 graphhand
# Training and all commands:   docker build --target train -t graphhand-train . && docker run --rm -v "$PWD:/work" graphhand-train train --config quick
FROM python:3.12-slim AS base
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE requirements.lock ./
COPY configs configs
COPY src src
RUN useradd --create-home hand

FROM base AS serve
RUN pip install --no-cache-dir --constraint requirements.lock ".[web]"
USER hand
EXPOSE 8000
ENTRYPOINT ["graphhand", "serve", "--host", "0.0.0.0"]

FROM base AS train
# torch's CPU build; for CUDA build with --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" torch \
 && pip install --no-cache-dir ".[train,video,web]"
USER hand
WORKDIR /work
ENTRYPOINT ["graphhand"]
