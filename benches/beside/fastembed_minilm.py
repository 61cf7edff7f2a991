"""Measures vectors of texts beside the Python package fastembed: the same MiniLM, as many threads, batches of 32 texts.

    python3 benches/beside/fastembed_minilm.py [rounds]

Farebox is asked over HTTP, with all that a paid request takes; fastembed runs in its own process with nothing around it. Rounds alternate.
"""

import base64
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import time

import common

PACKAGE = "fastembed==0.9.1"
THREADS = 2
BATCH = 32
BATCHES = 12
FOLDER = common.CACHE / "models/all-minilm-l6-v2"
TEXTS = [f"In the year {at} the bridge over the river was built of stone, and {'people came and ' * 4}" for at in range(BATCH)]

# Answers a line of texts with the seconds that so many batches of them took, and the first vector.
OTHER = """
import json, sys, time
from fastembed import TextEmbedding
from fastembed.common.model_description import PoolingType, ModelSource
folder, threads = sys.argv[1], int(sys.argv[2])
TextEmbedding.add_custom_model(model="local/minilm", pooling=PoolingType.MEAN, normalization=True,
    sources=ModelSource(hf="local/minilm"), dim=384, model_file="model.onnx")
model = TextEmbedding("local/minilm", specific_model_path=folder, threads=threads)
for line in sys.stdin:
    texts, batches = json.loads(line)
    begun = time.monotonic()
    for _ in range(batches):
        vectors = list(model.embed(texts, batch_size=len(texts)))
    print(json.dumps([time.monotonic() - begun, [float(x) for x in vectors[0]]]), flush=True)
"""


def beside(folder):
    """Starts fastembed on the same files, with the two that it wants besides."""
    copy = pathlib.Path(folder) / "minilm"
    shutil.copytree(FOLDER, copy)
    marks = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"}
    (copy / "special_tokens_map.json").write_text(json.dumps(marks))
    (copy / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 256}))
    command = [common.python_with(PACKAGE), "-c", OTHER, copy, str(THREADS)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def theirs(process, batches=BATCHES):
    process.stdin.write(json.dumps([TEXTS, batches]) + "\n")
    process.stdin.flush()
    seconds, vector = json.loads(process.stdout.readline())
    return batches * BATCH / seconds, vector


def ours(kept, batches=BATCHES):
    begun = time.monotonic()
    for _ in range(batches):
        answer = common.post(kept, "/v1/embeddings", {"model": "minilm", "input": TEXTS, "encoding_format": "base64"})
    seconds = time.monotonic() - begun
    raw = base64.b64decode(answer["data"][0]["embedding"])
    return batches * BATCH / seconds, struct.unpack(f"<{len(raw) // 4}f", raw)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    for kind in ("chat", "embeddings"):
        common.fetch(kind)
    with tempfile.TemporaryDirectory() as folder:
        command = [common.PROGRAM, "models", "import", FOLDER, "--name", "minilm"]
        subprocess.run(command, cwd=folder, env=common.settings(THREADS), check=True, stdout=subprocess.DEVNULL)
        processes = []
        try:
            processes.append(beside(folder))
            process, kept = common.farebox(folder, THREADS)
            processes.append(process)
            (_, one), (_, other) = ours(kept, 1), theirs(processes[0], 1)
            print(f"{PACKAGE}: cosine of both vectors {sum(a * b for a, b in zip(one, other)):.4f}")
            ratios = []
            for at in range(rounds):
                a, b = ours(kept)[0], theirs(processes[0])[0]
                print(f"round {at + 1}: farebox {a:.0f} texts/s, fastembed {b:.0f} texts/s")
                ratios.append(a / b)
            print(f"batches of {BATCH}, of fastembed: {common.median(ratios):.2f}")
        finally:
            for process in processes:
                process.terminate()
                process.wait()


main()
