# Farebox in a few words: `make run` starts everything, `make dev` serves a debug build, `make test` tests everything and
# `make test-fast` what takes less than a minute.
.PHONY: run dev build dist fmt lint test test-fast bench scaling clean

run: build
	@echo "Starting. The first start fetches ONNX Runtime and a small chat model (117 MB) and imports it."
	target/release/farebox quickstart

build:
	@if [ ! -x target/release/farebox ]; then \
		echo "Building Farebox and its libraries, once: about ten minutes on two idle cores, less on more."; \
		echo "Cargo counts the parts below; the last two, actors and farebox, take the longest."; \
	else \
		echo "Building what has changed: seconds where nothing has, usually one or two minutes after a change."; \
	fi
	cargo build --release --bin farebox

# The program without its debug information, which is beside it: a panic's backtrace reads it there.
dist: build
	mkdir -p target/dist
	objcopy --only-keep-debug target/release/farebox target/dist/farebox.debug
	objcopy --strip-debug --add-gnu-debuglink=target/dist/farebox.debug target/release/farebox target/dist/farebox
	@ls -l target/dist

# The debug build with settings to try things by: a clock that can be moved, faults that can be asked for, test cards, an
# operator's token that is known, and a folder of its own. Nothing is fetched.
dev: export FAREBOX_DATA_DIR ?= data/dev
dev: export FAREBOX_DATABASE__URL ?= sqlite://data/dev/farebox.db
dev: export FAREBOX_ADMIN_TOKEN ?= dev
dev: export FAREBOX_CLOCK ?= test
dev: export FAREBOX_FAULTS ?= true
dev: export FAREBOX_WEBHOOKS__ALLOW_PRIVATE ?= true
dev: export FAREBOX_LOG__LEVEL ?= info,ort=warn,farebox=debug,actors=debug
dev:
	@echo "Building the debug build: minutes the first time, then seconds."
	cargo build --bin farebox --features faults
	@echo "The operator's token is $$FAREBOX_ADMIN_TOKEN. CONTRIBUTING.md says what to try."
	target/debug/farebox serve

fmt:
	cargo fmt

lint:
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
# As it is released: without what only tests have.
	cargo clippy --workspace -- -D warnings

# A test whose server (PostgreSQL, Redis) is not here fails: what is green was run. FAREBOX_TEST_REQUIRE_SERVERS=0 leaves
# such tests out, and says so.
export FAREBOX_TEST_REQUIRE_SERVERS ?= 1

test:
	tests/setup.sh
	cargo test --workspace --no-fail-fast
	FAREBOX_TEST_DATABASE=postgres cargo test --test e2e -- closed idempotency payments:: plans:: webhooks:: usage:: people:: notices:: letters:: operated:: forms:: rights:: restarts:: timings::

# The unit tests, the architecture, and the simulation with a tenth of its seeds.
test-fast: export FAREBOX_TEST_SEEDS ?= 500
test-fast:
	cargo test -q --workspace --lib --test architecture --test simulation --test placement --test cluster

bench:
	cargo bench --bench gateway
	cargo bench --bench nodes -- forward hot three redis takeover drain sockets
	cargo bench --bench ledger
	cargo bench -p billing --bench decide
	cargo bench -p wire --bench translate
	python3 tests/fetch.py
	python3 tests/fetch.py embeddings
	cargo run --release -p engine --example embed_ratio -- \
		"$${FAREBOX_CACHE:-$$HOME/.cache/farebox}/onnxruntime/1.31.1/libonnxruntime.so" \
		"$${FAREBOX_CACHE:-$$HOME/.cache/farebox}/models/all-minilm-l6-v2"
	for example in decode_ratio batch_ratio lookup_ratio; do \
		cargo run --release -p engine --example $$example -- \
			"$${FAREBOX_CACHE:-$$HOME/.cache/farebox}/onnxruntime/1.31.1/libonnxruntime.so" \
			"$${FAREBOX_CACHE:-$$HOME/.cache/farebox}/models/smollm2-135m-instruct/model.gguf" || exit 1; \
	done
	cargo build --release --bin farebox
	python3 benches/beside/llama_cpp.py
	python3 benches/beside/fastembed_minilm.py

# What a request costs, by the number of clients, and what the capacity model makes of it: into docs/scaling.md.
scaling:
	cargo bench --bench nodes -- cost --write

clean:
	cargo clean
