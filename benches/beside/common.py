"""What measurements beside other programs share: a Farebox of the release build in a folder of its own, and Pythons with a package."""

import json
import os
import pathlib
import subprocess
import sys
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("FAREBOX_CACHE", pathlib.Path.home() / ".cache/farebox"))
PROGRAM = ROOT / "target/release/farebox"


def fetch(kind):
    """Fetches the files of one of the tests' sets."""
    subprocess.run([sys.executable, ROOT / "tests/fetch.py", kind], check=True)


def python_with(package):
    """A Python that has this package, kept in the user's cache."""
    folder = CACHE / "beside" / package.replace("==", "-")
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", package], check=True)
        (folder / "ready").touch()
    return folder / "bin/python"


def settings(threads):
    """The environment of a Farebox."""
    ours = {"FAREBOX_LISTEN": "127.0.0.1:0", "FAREBOX_RUNTIME__THREADS": str(threads), "FAREBOX_LOG__LEVEL": "error"}
    return {**os.environ, **ours}


def farebox(folder, threads):
    """Starts Farebox in a folder. Returns its process, and what its quickstart keeps."""
    process = subprocess.Popen([PROGRAM, "quickstart"], cwd=folder, env=settings(threads), stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("listening on"):
            return process, json.loads((pathlib.Path(folder) / "data/quickstart.json").read_text())
    sys.exit("farebox did not start")


def post(kept, path, body):
    """The answer to a request of the quickstart's account."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {kept['api_key']}"}
    request = urllib.request.Request(kept["url"] + path, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"{path}: {error.code} {error.read()[:500]}")


def median(values):
    return sorted(values)[len(values) // 2]
