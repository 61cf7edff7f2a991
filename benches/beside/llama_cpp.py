"""Measures open models beside llama.cpp: the same GGUF file, as many threads, both over HTTP, in alternating rounds.

    python3 benches/beside/llama_cpp.py [rounds]

It needs the release build of farebox. llama.cpp comes in the Python package `xllamacpp`, which is installed into the user's cache; its
version and what it was built for are printed. Each figure is a ratio of this run: only rounds that ran beside each other are compared.
"""

import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import common

PACKAGE = "xllamacpp==2026.10.11549"
THREADS = 2
TOKENS = 128
STREAMS = 8
GGUF = common.CACHE / "models/smollm2-135m-instruct/model.gguf"

SERVE = """
import sys, time, xllamacpp as x
p = x.CommonParams()
p.model.path, threads, streams = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = threads
p.n_parallel, p.n_ctx, p.port = streams, streams * 2048, 0
server = x.Server(p)
print(x.BUILD_INFO, "|", x.get_system_info(), flush=True)
print(server.listening_address, flush=True)
while True: time.sleep(60)
"""

# Sentences of which prompts are made; a word in front tells each from all others, so that no cache helps.
PROSE = (
    "The bridge was built of stone from the northern hills, and the masons who cut it lived for three summers in tents beside the river. "
    "When the work was done the town held a fair, and every year since then the fair has come back in the week after the harvest. "
    "Merchants bring cloth, salt and iron, and the children run between the carts until the lamps are lit along the water. "
)


class Server:
    """An OpenAI-shaped server: its address, and the headers that it wants."""

    def __init__(self, name, process, address, model, headers):
        self.name, self.process, self.model, self.headers = name, process, model, headers
        self.host, self.port = address.removeprefix("http://").rstrip("/").split(":")

    def stream(self, messages, tokens):
        """Streams an answer. Returns the times of its parts, and its text."""
        body = {"model": self.model, "messages": messages, "max_tokens": tokens, "temperature": 0, "stream": True}
        # No end before the limit: all answers have as many tokens.
        body["logit_bias"] = {"2": -100, "0": -100}
        connection = http.client.HTTPConnection(self.host, int(self.port), timeout=300)
        begun = time.monotonic()
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json", **self.headers})
        answer = connection.getresponse()
        if answer.status != 200:
            sys.exit(f"{self.name}: {answer.status} {answer.read()[:500]}")
        times, text = [], ""
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            choices = json.loads(line[6:])["choices"]
            delta = choices[0]["delta"].get("content") if choices else None
            if delta:
                times.append(time.monotonic() - begun)
                text += delta
        connection.close()
        return times, text

    def alone(self):
        """Tokens a second of one stream, after its first token."""
        times, _ = self.stream([{"role": "user", "content": f"{uuid.uuid4()} Tell a long story about a bridge."}], TOKENS)
        return (len(times) - 1) / (times[-1] - times[0])

    def together(self):
        """Tokens a second of all streams at once, from the first token of all to the last."""
        results, begun = [None] * STREAMS, time.monotonic()

        def run(at):
            start = time.monotonic() - begun
            times, _ = self.stream([{"role": "user", "content": f"{uuid.uuid4()} Tell a long story about a bridge."}], TOKENS)
            results[at] = [start + when for when in times]

        threads = [threading.Thread(target=run, args=(at,)) for at in range(STREAMS)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        every = sorted(when for times in results for when in times)
        return (len(every) - 1) / (every[-1] - every[0])

    def conversation(self):
        """Seconds to the first token of a prompt of about 1,000 tokens, and of the turn after it."""
        messages = [{"role": "user", "content": f"{uuid.uuid4()} {PROSE * 12} What is this about?"}]
        times, text = self.stream(messages, 48)
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "And who lived in tents?"}]
        again, _ = self.stream(messages, 8)
        return times[0], again[0]


def llama():
    python = common.python_with(PACKAGE)
    process = subprocess.Popen([python, "-c", SERVE, GGUF, str(THREADS), str(STREAMS)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if line.startswith("http://"):
            break
    print(f"llama.cpp of {PACKAGE}: {' '.join(lines[:-1])}")
    return Server("llama.cpp", process, lines[-1], "any", {})


def farebox(folder):
    process, kept = common.farebox(folder, THREADS)
    headers = {"authorization": f"Bearer {kept['api_key']}"}
    # The more credits, the more streams at once.
    common.post(kept, "/v1/credits/purchase", {"amount": "50.00", "payment_method": "pm_card_visa"})
    return Server("farebox", process, kept["url"], kept["model"], headers)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    common.fetch("chat")
    with tempfile.TemporaryDirectory() as folder:
        servers = []
        try:
            for start in (llama, lambda: farebox(folder)):
                servers.append(start())
            measure(servers[::-1], rounds)
        finally:
            for server in servers:
                server.process.terminate()
                server.process.wait()


def measure(servers, rounds):
    figures = {server.name: [] for server in servers}
    for server in servers:
        server.alone()
    for at in range(rounds):
        for server in servers:
            cold, next_turn = server.conversation()
            one, all_of_them = server.alone(), server.together()
            figures[server.name].append((one, all_of_them, cold, next_turn))
            print(f"round {at + 1}, {server.name}: one stream {one:.1f} tokens/s, {STREAMS} streams {all_of_them:.1f} in all, first token of a long prompt {cold:.2f} s, of the next turn {next_turn:.3f} s")
    ours, theirs = figures["farebox"], figures["llama.cpp"]
    pairs = list(zip(ours, theirs))
    print(f"one stream, of llama.cpp: {common.median([a[0] / b[0] for a, b in pairs]):.2f}")
    print(f"{STREAMS} streams, of llama.cpp: {common.median([a[1] / b[1] for a, b in pairs]):.2f}")
    print(f"{STREAMS} streams, of one: {common.median([a[1] / a[0] for a in ours]):.2f}; llama.cpp: {common.median([b[1] / b[0] for b in theirs]):.2f}")
    print(f"first token of a long prompt, llama.cpp's time over ours: {common.median([b[2] / a[2] for a, b in pairs]):.2f}")
    print(f"first token of the next turn, of a cold one: {common.median([a[3] / a[2] for a in ours]):.3f}; llama.cpp: {common.median([b[3] / b[2] for b in theirs]):.3f}")


main()
