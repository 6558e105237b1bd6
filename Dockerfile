# docker build -t reverie .
# docker build -t reverie:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
# docker run --rm -it -v "$PWD/runs:/work/runs" reverie train mfec --game ms_pacman --total-timesteps 200000
# With a GPU: docker run --rm -it --gpus all -v "$PWD/runs:/work/runs" reverie:cuda train pqn --game pong
FROM python:3.11-slim AS wheel
COPY . /source
RUN pip wheel --no-deps --wheel-dir /wheels /source

FROM python:3.11-slim
# The wheels of the CPU; those of CUDA carry its libraries, and need only the driver of the host.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt /tmp/
COPY --from=wheel /wheels /tmp/wheels
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt --extra-index-url "$TORCH_INDEX" \
        "$(echo /tmp/wheels/reverie-*.whl)[play,minatar,minigrid]" \
    && rm -r /tmp/wheels /tmp/constraints.txt \
    && useradd --create-home reverie && mkdir /work && chown reverie /work
USER reverie
WORKDIR /work
# `reverie play` listens on the loopback address: run it with --network host.
ENTRYPOINT ["reverie"]
CMD ["--help"]
