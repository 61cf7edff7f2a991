# Farebox in a few words: `make run` starts everything, `make test` tests everything.
.PHONY: run build fmt lint test bench clean

run:
	cargo build --release
	target/release/farebox quickstart

build:
	cargo build --release

fmt:
	cargo fmt

lint:
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings

# A test whose server (PostgreSQL, Redis) is not here fails: what is green was run. FAREBOX_TEST_REQUIRE_SERVERS=0 leaves
# such tests out, and says so.
export FAREBOX_TEST_REQUIRE_SERVERS ?= 1

test:
	tests/setup.sh
	cargo test --workspace
	FAREBOX_TEST_DATABASE=postgres cargo test --test e2e -- closed idempotency payments:: plans:: webhooks:: usage::

bench:
	cargo bench --bench gateway
	cargo bench --bench ledger
	cargo bench -p billing --bench decide
	python3 tests/fetch.py
	cargo run --release -p engine --example decode_ratio -- \
		"$${FAREBOX_CACHE:-$$HOME/.cache/farebox}/onnxruntime/1.31.1/libonnxruntime.so" \
		"$${FAREBOX_CACHE:-$$HOME/.cache/farebox}/models/smollm2-135m-instruct/model.gguf"

clean:
	cargo clean
