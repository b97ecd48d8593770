"""What is compared: each section starts its servers, measures them in turn, and ends them."""

import contextlib
import resource
import statistics
import sys
import time

import loads
import servers
from tables import Row, Section, medians

# (kind, requests of a pipeline), as the rows are ordered.
CELLS = [("get", 16), ("set", 16), ("get", 1), ("set", 1)]
# Of the peak that was measured.
PACE = 0.7
# How often what others disturb is measured.
TRIES = 5


@contextlib.contextmanager
def running(*starts):
    """Starts servers, and ends them whatever happens."""
    with contextlib.ExitStack() as stack:
        started = []
        for start in starts:
            server = start()
            stack.callback(server.stop)
            started.append(server)
        yield started


def measured(bed, section, cells, sides, measure):
    """Every cell on every side, in turn, round by round, every other round the other way. Each
    record is what `measure(cell, side)` gives, with what it belongs to."""
    records = []
    for index in range(bed.rounds):
        for cell in cells:
            for side in sides if index % 2 == 0 else reversed(sides):
                record = {"round": index + 1, "cell": cell, "server": side.name}
                for tries_left in reversed(range(TRIES)):
                    with others(side, record):
                        record.update(measure(cell, side))
                    if record["others"] <= bed.others_max or tries_left == 0:
                        break
                    if not await_quiet(bed):
                        break
                records.append(record)
                print(f"{section}, round {index + 1}, {label(cell)}, {side.name}: "
                      f"{record['us_per_op']:.2f} us/op, {record['ops_per_s']:.0f}/s",
                      file=sys.stderr, flush=True)
    return records


def busy():
    """What all CPUs have worked so far, seconds. Softirqs are left out, most of which are those of
    the connections."""
    with open("/proc/stat", encoding="utf-8") as stat:
        user, nice, system, _, _, _, _, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + steal) / servers.TICK


@contextlib.contextmanager
def others(side, record):
    """Notes how much CPU anybody else had meanwhile: what is measured beside them is not worth
    much."""
    def used():
        ours = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return busy() - side.cpu_seconds() - sum(one.ru_utime + one.ru_stime for one in ours)
    begin, before = time.monotonic(), used()
    yield
    record["others"] = max(0.0, used() - before) / (time.monotonic() - begin)


def await_quiet(bed):
    """Waits until others leave the machine alone. False if they do not: then nobody waits for them
    again."""
    if bed.patience > 0:
        print("others use the CPUs: waiting", file=sys.stderr, flush=True)
    for _ in range(bed.patience):
        before = busy()
        time.sleep(1)
        if busy() - before <= bed.others_max:
            return True
    bed.patience = 0
    return False


def label(cell):
    return " ".join([str(cell[0]).upper(), *(f"-P {part}" if isinstance(part, int) else part
                                             for part in cell[1:])])


def of(records, cell, server, name=None):
    """The records of a cell on a server, or one figure of each."""
    found = [one for one in records if one["cell"] == cell and one["server"] == server]
    return [one[name] for one in found] if name else found


def single(bed):
    """One shard against other servers of one thread: CPU of the server per operation."""
    bars = {
        "Redis": {("get", 16): 0.65, ("set", 16): 0.45, ("get", 1): 0.95, ("set", 1): 0.95},
        "bare ring": {("get", 16): 1.3, ("get", 1): 1.15},
        "memcached": {},
    }
    starts = [lambda: servers.ringmain(bed), lambda: servers.bare(bed)]
    starts += [lambda: servers.redis(bed)] if bed.has_redis else []
    starts += [lambda: servers.memcached(bed)] if bed.has_memcached else []

    def protocol(server):
        return "memcached" if server.name == "memcached" else "resp"
    with running(*starts) as sides:
        for side in sides:
            loads.fill(bed, side, protocol(side))
        records = measured(bed, "single", CELLS, sides, lambda cell, side: loads.closed(
            bed, side, *cell, protocol=protocol(side)))
    names = [side.name for side in sides]
    rows = [Row(label(cell), name, "µs", of(records, cell, "Ringmain", "us_per_op"),
                of(records, cell, name, "us_per_op"), bar.get(cell))
            for name, bar in bars.items() if name in names for cell in CELLS]
    return Section(
        "single", "One shard against other servers",
        "CPU µs of the server per operation. All servers run on one CPU, the load on another; "
        "50 connections, 100-byte values, 100 000 keys. Ringmain: one shard, N=1, "
        "interval:1000ms. Redis: appendonly, everysec. memcached: one thread, no disk; gets of a "
        "pipeline are one command, as its clients send them. The bare ring parses RESP and "
        "answers from a hash map, and does nothing else. What a server does behind a load "
        "(merging, rewriting its file) counts for that load.",
        rows, records, details=[answers(records, CELLS, names)])


def answers(records, cells, names):
    """How many answers there were, and how long they took."""
    lines = []
    for cell in cells:
        for name in names:
            found = of(records, cell, name)
            rate, cpu, *times = medians(found, "ops_per_s", "us_per_op", "p50_us", "p99_us",
                                        "p99_9_us")
            busy = [f"{100 * statistics.median(one[part] for one in found):.0f} %"
                    for part in ("busy", "load_busy")]
            lines.append([label(cell), name, cpu, rate, *times, *busy])
    return ["", "server", "CPU µs/op", "requests/s", "p50 µs", "p99 µs", "p99.9 µs",
            "server busy", "load busy"], lines


def synced(bed):
    """Sets that are on disk before they are answered."""
    if not bed.has_redis:
        return None
    cells = [("set", 1), ("set", 16)]
    with running(lambda: servers.ringmain(bed, durability="always"),
                 lambda: servers.redis(bed, fsync="always")) as sides:
        for side in sides:
            loads.fill(bed, side)
        records = measured(bed, "synced", cells, sides,
                           lambda cell, side: loads.closed(bed, side, *cell))

    def row(cell, figure, unit, bar, at_least=False):
        what = f"{label(cell)}, {'p99' if unit == 'µs' else 'throughput'}"
        return Row(what, "Redis", unit, of(records, cell, "Ringmain", figure),
                   of(records, cell, "Redis", figure), bar, at_least)
    rows = [row(("set", 1), "ops_per_s", "/s", 1.1, True), row(("set", 1), "p99_us", "µs", 0.7),
            row(("set", 16), "ops_per_s", "/s", 1.5, True),
            row(("set", 16), "p99_us", "µs", None)]
    return Section(
        "synced", "Acknowledged once on disk",
        "Ringmain with durability always, Redis with appendfsync always; one shard, 50 "
        "connections, 100-byte values, the same disk in turn.",
        rows, records, details=[answers(records, cells, ["Ringmain", "Redis"])])


def protocol(bed):
    """Native against RESP on one shard."""
    cells = [("get", 64), ("put", 64)]
    with running(lambda: servers.ringmain(bed)) as (node,):
        sides = [Side("native", node), Side("RESP", node)]
        records = measured(bed, "protocol", cells, sides, lambda cell, side: loads.bench(
            bed, node, side.name.lower(), float(cell[0] == "get"), cell[1]))

    def rows(figure, what, unit, bar):
        return [Row(f"{label(cell)}, {what}", "RESP", unit, of(records, cell, "native", figure),
                    of(records, cell, "RESP", figure), bar, bar is not None) for cell in cells]
    return Section(
        "protocol", "Native protocol against RESP",
        "`ringmain bench` with both targets, one shard, 64 requests in flight on each of 50 "
        "connections; the load runs on one CPU, too, and may be what limits the throughput.",
        rows("ops_per_s", "throughput", "/s", 1.3) + rows("us_per_op", "CPU", "µs", None)
        + rows("busy", "server busy", "CPUs", None), records, "native")


class Side:
    """One way to ask a server, by a name of its own."""

    def __init__(self, name, server):
        self.name = name
        self.cpu_seconds = server.cpu_seconds


def shards(bed):
    """Two shards on two CPUs against one."""
    cells = [(kind, 16, target) for target in ("native", "resp") for kind in ("get", "put")]
    if len(bed.server_cpus) < 2:
        return None
    with running(lambda: servers.ringmain(bed, "two shards", shards=2),
                 lambda: servers.ringmain(bed, "one shard")) as sides:
        records = measured(bed, "shards", cells, sides, lambda cell, side: loads.bench(
            bed, side, cell[2], float(cell[0] == "get"), cell[1], routed=cell[2] == "native"))
    rows = [Row(label(cell), "one shard", "µs", of(records, cell, "two shards", "us_per_op"),
                of(records, cell, "one shard", "us_per_op"), 1.1 if cell[2] == "native" else 1.5)
            for cell in cells]
    return Section(
        "shards", "Two shards against one",
        "CPU µs of the server per operation, by `ringmain bench`; native clients know which shard "
        "has a key, those of RESP do not. On a machine of two CPUs the "
        "load shares one of them with the second shard.", rows, records, "two shards")


def nodes(bed):
    """Three nodes with N = 3, R = W = 2 against one."""
    cells = [("set", 16), ("get", 16)]
    with running(lambda: servers.cluster(bed),
                 lambda: servers.ringmain(bed, "one node")) as sides:
        for side in sides:
            loads.fill(bed, side)
        records = measured(bed, "nodes", cells, sides,
                           lambda cell, side: loads.closed(bed, side, *cell))
    bars = {("set", 16): 3.5, ("get", 16): 2.2}
    rows = [Row(label(cell), "one node", "µs", of(records, cell, "3 nodes", "us_per_op"),
                of(records, cell, "one node", "us_per_op"), bars[cell]) for cell in cells]
    return Section(
        "nodes", "Three nodes against one",
        "CPU µs of all nodes per operation; three nodes with N=3, R=W=2 that share one CPU, each "
        "asked by a third of the connections, against one node with N=1.",
        rows, records, "three nodes", [answers(records, cells, ["3 nodes", "one node"])])


def paced(bed):
    """Latency at a fixed rate, below the peak, against the bare ring at the same rate."""
    with running(lambda: servers.ringmain(bed), lambda: servers.bare(bed)) as sides:
        peaks = [loads.bench(bed, sides[0], "resp", 0.5, 1)["ops_per_s"] for _ in range(3)]
        rate = round(PACE * statistics.median(peaks))
        records = measured(bed, "paced", [("half", 16)], sides, lambda _, side: loads.bench(
            bed, side, "resp", 0.5, 16, rate))

    def figures(name, kind, part):
        return [one[kind][part] for one in of(records, ("half", 16), name)]
    rows = [Row(f"{kind.upper()}, {part.removesuffix('_us').replace('_', '.')}", "bare ring", "µs",
                figures("Ringmain", kind, part), figures("bare ring", kind, part),
                2 if part == "p99_9_us" else None)
            for kind in ("get", "put") for part in ("p50_us", "p99_us", "p99_9_us")]
    unsent = sum(one["errors"] for one in records)
    return Section(
        "paced", f"Open loop at {PACE:.0%} of the peak".replace("%", " %"),
        f"`ringmain bench --target resp --rate {rate}`, half of it reads, which is {PACE:g} of "
        "what Ringmain answered at most with one request in flight on each of 50 connections. "
        "Latencies count from when a request was to be sent. Requests that were due and not sent "
        f"in time, of all rounds: {unsent}.", rows, records)


ALL = {section.__name__: section for section in (single, synced, protocol, shards, nodes, paced)}
