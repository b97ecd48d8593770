#!/usr/bin/env python3
"""Ringmain against Redis, memcached and a bare ring, all measured in turn, by one command.

usage: benches/compare/compare.py [SECTION ...] [--rounds 5] [--seconds 3] [--results DIR]

Builds what it needs, starts each server on a free port of loopback, pinned to one CPU, with the
load on another, and prints a table for each section: medians of all rounds, our ratio to the
other, its spread by round, and whether it is what we aim for. Writes DIR/SECTION.md, .json with
every single measurement, and .svg. Sections: single (one shard against other servers), synced
(durability always), protocol (native against RESP), shards (two against one), nodes (three against
one), paced (open loop against the bare ring); all of them take about twenty minutes.

Needs Linux, two CPUs, cargo, and for its sections redis-server and memcached.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile

import machine
import plot
import sections
import servers
import tables
from build import build

HERE = os.path.dirname(os.path.abspath(__file__))


class Bed:
    """What all sections are told."""

    def __init__(self, options, root):
        self.ringmain, self.bare = build(options)
        self.root = root
        self.rounds, self.seconds = options.rounds, options.seconds
        self.others_max, self.patience = options.others_max, options.patience
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            raise servers.Failure("one CPU is too few: the load would share it with the server")
        self.server_cpus, self.load_cpus = cpus[:2], cpus[-1:]
        self.has_redis = servers.is_there("redis-server")
        self.has_memcached = servers.is_there("memcached")


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n", maxsplit=1)[0], epilog=__doc__.split("\n\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION",
                        help=f"any of {', '.join(sections.ALL)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--seconds", type=float, default=3,
                        help="of one measurement (default: 3)")
    parser.add_argument("--others-max", type=float, default=0.15, metavar="CPUS", help="what is "
                        "measured while other programs use more is measured again (default: 0.15)")
    parser.add_argument("--patience", type=int, default=120, metavar="SECONDS",
                        help="how long it waits for them to stop (default: 120)")
    parser.add_argument("--results", default=os.path.join(HERE, "..", "results"),
                        help="folder for what is written (default: benches/results)")
    parser.add_argument("--dir", help="folder of the servers' files (default: temporary)")
    parser.add_argument("--ringmain", help="the binary (default: built from this commit)")
    parser.add_argument("--bare", help="the benchmark `bare` (default: built from this commit)")
    options = parser.parse_args()
    unknown = [name for name in options.sections if name not in sections.ALL]
    if unknown:
        parser.error(f"no section {unknown[0]}: there are {', '.join(sections.ALL)}")
    return options


def main():
    options = arguments()
    # So that `finally` is reached, and every server ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("compare: ended by SIGTERM"))
    os.makedirs(options.results, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="compare-", dir=options.dir) as root:
            bed = Bed(options, root)
            for binary, is_there in [("redis-server", bed.has_redis),
                                     ("memcached", bed.has_memcached)]:
                if not is_there:
                    print(f"{binary} is missing and left out; {servers.INSTALL}", file=sys.stderr)
            for name in options.sections or sections.ALL:
                section = sections.ALL[name](bed)
                if section is None:
                    print(f"{name}: left out, since what it compares with is missing",
                          file=sys.stderr)
                    continue
                publish(section, bed, options)
    except servers.Failure as failure:
        sys.exit(f"compare: {failure}")
    except KeyboardInterrupt:
        sys.exit("compare: ended")


def publish(section, bed, options):
    """Prints a section and writes its files."""
    lines = machine.describe(bed)
    others = [record["others"] for record in section.raw]
    rounds = (f"{bed.rounds} rounds of {bed.seconds:g} s, medians; ratios are {section.ours} / "
              f"other. Other programs had {statistics.median(others):.2f} CPUs meanwhile, at most "
              f"{max(others):.2f}.")
    parts = [f"# {section.title}", section.about, rounds, tables.comparison(section)]
    parts += [tables.markdown(*detail) for detail in section.details]
    parts += [f"![{section.title}]({section.name}.svg)", "  \n".join(lines)]
    text = "\n\n".join(parts) + "\n"
    print(text, flush=True)
    told = {"machine": lines, "rounds": bed.rounds, "seconds": bed.seconds,
            "rows": [row.figures() for row in section.rows], "measurements": section.raw}
    write(options, f"{section.name}.md", text)
    write(options, f"{section.name}.json", json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    write(options, f"{section.name}.svg", ratios(section))


def ratios(section):
    """All rows as bars, those of one kind of request side by side."""
    groups = {}
    for row in section.rows:
        low, high = row.spread
        bar = (row.other, row.ratio, low, high, row.bar)
        groups.setdefault(row.what, []).append(bar)
    series = list(dict.fromkeys(row.other for row in section.rows))
    axis = f"ratio {section.ours} / other, with its spread by round"
    return plot.bars(section.title, axis, list(groups.items()), series)


def write(options, name, text):
    with open(os.path.join(options.results, name), "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()
