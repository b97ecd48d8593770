"""The loads: what is sent, and what it cost the server.

All RESP servers and memcached are loaded by `bare load` (benches/bare): one program whose requests
differ by nothing but the bytes of the protocol, whose pipelines are those of redis-benchmark, and
that keeps a histogram of all latencies, of which redis-benchmark prints no p99.9 as CSV. What it
does not speak, the native protocol and open loops, comes from `ringmain bench`.
"""

import json
import os
import re
import subprocess

from servers import Failure, settle

CONNECTIONS, KEYS, VALUE_BYTES = 50, 100_000, 100


def fill(bed, server, protocol="resp"):
    """Sets all keys once."""
    run_bare(bed, server, protocol, ["--fill", "--pipeline", "16"])
    settle(server)


def closed(bed, server, kind, pipeline, protocol="resp"):
    """One closed loop: figures of the server and of its answers."""
    before = server.cpu_seconds()
    told = run_bare(bed, server, protocol, [
        "--kind", kind, "--pipeline", str(pipeline), "--seconds", str(bed.seconds)])
    meanwhile = server.cpu_seconds() - before
    settle(server)
    used = server.cpu_seconds() - before
    return {
        "us_per_op": used / told["count"] * 1e6,
        "ops_per_s": told["count"] / told["seconds"],
        "busy": meanwhile / told["seconds"],
        "load_busy": told["cpu_seconds"] / told["seconds"],
        **{name: told[name] for name in ("p50_us", "p99_us", "p99_9_us", "max_us", "count")},
    }


def run_bare(bed, server, protocol, more):
    command = [
        bed.bare, "load", "--node", server.resp, "--protocol", protocol,
        "--connections", str(CONNECTIONS), "--keys", str(KEYS),
        "--value-bytes", str(VALUE_BYTES), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          preexec_fn=lambda: os.sched_setaffinity(0, bed.load_cpus))
    if done.returncode != 0:
        raise Failure(f"{server.name}: {done.stderr.strip()}")
    told = json.loads(done.stdout)
    if told["errors"]:
        raise Failure(f"{server.name} answered {told['errors']}")
    return told


def bench(bed, server, target, read_ratio, pipeline, rate=None, routed=False):
    """`ringmain bench`, which loads its keys first: what the server used is read with the line
    that it tells behind the first second, and with the last one."""
    seconds = max(2, round(bed.seconds))
    address = server.addresses["native" if target == "native" else "resp"]
    command = [
        bed.ringmain, "bench", "--target", target, "--node", address,
        "--connections", str(CONNECTIONS), "--pipeline", str(pipeline), "--keys", str(KEYS),
        "--value-bytes", str(VALUE_BYTES), "--read-ratio", str(read_ratio), "--warmup", "500ms",
        "--duration", f"{seconds + 1}s", "--json"]
    command += ["--rate", str(rate)] if rate else []
    command += ["--routed"] if routed else []
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, bed.load_cpus))
    try:
        used, count, lines, words = 0.0, 0, 0, []
        for line in process.stderr:
            words.append(line)
            second = re.search(r"(\d+) s: (\d+) ops/s", line)
            if second is None:
                continue
            now = server.cpu_seconds()
            used += now - before if lines else 0.0
            count += int(second[2]) if lines else 0
            before, lines = now, lines + 1
        told = process.stdout.read()
        if process.wait() != 0:
            raise Failure(f"ringmain bench with {server.name}: {''.join(words[-3:])}")
    finally:
        process.kill()
        process.wait()
    told = json.loads(told.splitlines()[-1])
    if told["errors"] and not rate:
        raise Failure(f"{server.name} answered with {told['errors']} errors: {''.join(words)}")
    return {
        "us_per_op": used / count * 1e6,
        "ops_per_s": count / (lines - 1),
        "busy": used / (lines - 1),
        "errors": told["errors"],
        "get": told["get"],
        "put": told["put"],
    }
