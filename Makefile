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

test:
	tests/setup.sh
	cargo test --workspace

bench:
	cargo bench

clean:
	cargo clean
