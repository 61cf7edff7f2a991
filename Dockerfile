# syntax=docker/dockerfile:1
# Farebox, with ONNX Runtime for the processor the image is built for. Everything it keeps is in /var/lib/farebox.
#   docker build -t farebox . && docker run -p 8080:8080 -v farebox:/var/lib/farebox farebox

# The version of rust-toolchain.toml, which stays outside: it would fetch rustfmt and clippy too.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin farebox \
    && objcopy --only-keep-debug target/release/farebox /usr/local/bin/farebox.debug \
    && objcopy --strip-debug --add-gnu-debuglink=/usr/local/bin/farebox.debug target/release/farebox /usr/local/bin/farebox

# The same build of ONNX Runtime that quickstart fetches (src/fetch.rs names it too).
FROM python:3.11-slim-bookworm AS onnxruntime
RUN pip download --no-deps --only-binary=:all: --implementation=cp --python-version=3.11 --abi=cp311 \
        --platform="manylinux_2_28_$(uname -m)" -d /tmp onnxruntime==1.31.1 \
    && python3 -m zipfile -e /tmp/onnxruntime-*.whl /tmp/wheel \
    && cp /tmp/wheel/onnxruntime/capi/libonnxruntime.so.1.31.1 /usr/local/lib/libonnxruntime.so

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/farebox --create-home farebox
# A backtrace finds its lines in the second.
COPY --from=build /usr/local/bin/farebox /usr/local/bin/farebox.debug /usr/local/bin/
COPY --from=onnxruntime /usr/local/lib/libonnxruntime.so /usr/local/lib/libonnxruntime.so
ENV FAREBOX_LISTEN=0.0.0.0:8080 \
    FAREBOX_RUNTIME__ONNXRUNTIME=/usr/local/lib/libonnxruntime.so
USER 10001
WORKDIR /var/lib/farebox
VOLUME /var/lib/farebox
EXPOSE 8080
STOPSIGNAL SIGTERM
# No curl in the image: bash speaks enough HTTP. Change the port here if FAREBOX_LISTEN changes it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["farebox"]
CMD ["serve"]
