"""The two binaries of this commit."""

import json
import os
import subprocess

from servers import Failure

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def build(options):
    """Paths of `ringmain` and of the benchmark `bare`, built unless they were given."""
    ours = options.ringmain or built("ringmain", ["build", "--release"])
    bare = options.bare or built(
        "bare", ["bench", "--package", "ringmain-benches", "--bench", "bare", "--no-run"])
    for path in (ours, bare):
        if not os.access(path, os.X_OK):
            raise Failure(f"{path} is no binary")
    return os.path.abspath(ours), os.path.abspath(bare)


def built(name, words):
    command = ["cargo", *words, "--quiet", "--message-format", "json-render-diagnostics"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)} failed")
    for line in done.stdout.splitlines():
        told = json.loads(line)
        if told.get("executable") and told["target"]["name"] == name:
            return told["executable"]
    raise Failure(f"cargo built no {name}")
