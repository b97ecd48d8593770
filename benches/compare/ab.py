#!/usr/bin/env python3
"""Builds of Ringmain, or settings of one, against the first of them.

usage: benches/compare/ab.py BUILD BUILD ... [--load resp:get:16 ...] [--rounds 20] [--seconds 0.7]

A BUILD is a binary, with variables before it and options of `start` behind: "NAME=1 ringmain
--shards 1". All are started at once on one CPU, and loaded in turn from another, in short rounds:
on a machine that others share, two figures of one second compare, and two of a minute apart do not.
Prints the CPU that the whole server used per operation: the least and the median of all rounds,
and the median ratio to the first build in the same round, with the range that holds half of them.
"""

import argparse
import os
import re
import shlex
import statistics
import sys
import tempfile
import time
import types

import loads
import servers
from build import built


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n", maxsplit=1)[0], epilog=__doc__.split("\n\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builds", nargs="+", metavar="BUILD")
    parser.add_argument("--load", action="append", metavar="PROTOCOL:KIND:PIPELINE",
                        help="resp:get:16, native:put:64 and so on (default: resp:get:16, "
                        "resp:set:16, resp:get:1, resp:set:1)")
    parser.add_argument("--rounds", type=int, default=20, help="(default: 20)")
    parser.add_argument("--seconds", type=float, default=0.7, help="of a load (default: 0.7)")
    parser.add_argument("--connections", type=int, default=loads.CONNECTIONS,
                        help="(default: %(default)s)")
    parser.add_argument("--keys", type=int, default=loads.KEYS, help="(default: %(default)s)")
    parser.add_argument("--value-bytes", type=int, default=loads.VALUE_BYTES,
                        help="(default: %(default)s)")
    parser.add_argument("--durability", default="interval:1000ms", help="(default: %(default)s)")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("with less than two rounds there is no range")
    for load in options.load or []:
        if not re.fullmatch(r"(resp:(get|set)|native:(get|put)):[1-9][0-9]*", load):
            parser.error(f"no load {load!r}: resp:get:16 or native:put:64, for example")
    options.load = options.load or ["resp:get:16", "resp:set:16", "resp:get:1", "resp:set:1"]
    return options


def split(build):
    """Its variables, its binary, and its options."""
    words = shlex.split(build)
    count = next((at for at, word in enumerate(words) if "=" not in word), None)
    if count is None:
        sys.exit(f"ab: {build!r} names no binary")
    # A server has a folder of its own.
    binary = os.path.abspath(words[count]) if os.sep in words[count] else words[count]
    return words[:count], binary, words[count + 1:]


def start(bed, name, build):
    """A server of a build."""
    variables, binary, options = split(build)
    command = ["env", *variables, binary, "start", "--data-dir", "{folder}/data",
               "--resp-port", "0", "--port", "0", "--admin-port", "0", "--shards", "1", "--cpus",
               str(bed.server_cpus[0]), "--durability", bed.durability, "--log-level", "warn",
               "--n", "1", "--r", "1", "--w", "1", *options]
    return servers.Server(name, command, bed.server_cpus, bed.root)


def cpu_seconds(server):
    """Of all its threads, those that have ended too: the clock of that process, in nanoseconds."""
    return time.clock_gettime((~server.process.pid << 3) | 2)


def measured(bed, server, protocol, kind, pipeline):
    """CPU microseconds per operation of one load."""
    if protocol == "native":
        return loads.bench(bed, server, "native", float(kind == "get"), int(pipeline))["us_per_op"]
    before = cpu_seconds(server)
    count = loads.run_bare(bed, server, protocol, [
        "--kind", kind, "--pipeline", pipeline, "--seconds", str(bed.seconds)])["count"]
    return (cpu_seconds(server) - before) / count * 1e6


def main():
    options = arguments()
    loads.KEYS, loads.VALUE_BYTES = options.keys, options.value_bytes
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        sys.exit("ab: one CPU is too few: the load would share it with the servers")
    bare = built("bare", ["bench", "--package", "ringmain-benches", "--bench", "bare", "--no-run"])
    with tempfile.TemporaryDirectory(prefix="ab-") as root:
        bed = types.SimpleNamespace(
            root=root, bare=bare, seconds=options.seconds, durability=options.durability,
            server_cpus=cpus[:1], load_cpus=cpus[-1:],
            ringmain=split(options.builds[0])[1])
        sides = []
        try:
            for number, build in enumerate(options.builds):
                sides.append(start(bed, f"build {number}", build))
                loads.run_bare(bed, sides[-1], "resp", ["--fill", "--pipeline", "1"])
            loads.CONNECTIONS = options.connections
            for load in options.load:
                compare(bed, sides, options, load)
        except servers.Failure as failure:
            sys.exit(f"ab: {failure}")
        finally:
            for side in sides:
                side.stop()


def compare(bed, sides, options, load):
    """One load on all sides, in turn."""
    figures = [[] for _ in sides]
    for index in range(options.rounds):
        order = list(range(len(sides)))
        for at in order if index % 2 == 0 else reversed(order):
            figures[at].append(measured(bed, sides[at], *load.split(":")))
    for build, mine in zip(options.builds, figures):
        low, middle, high = statistics.quantiles(
            [one / other for one, other in zip(mine, figures[0])], n=4)
        print(f"{load:14} {min(mine):7.2f} {statistics.median(mine):7.2f} us   "
              f"{middle:.3f} ({low:.3f} to {high:.3f})   {build}", flush=True)


if __name__ == "__main__":
    main()
