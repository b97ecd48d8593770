#!/usr/bin/env python3
"""Server CPU per operation, one shard of Ringmain against Redis, measured in turn in one run.

usage: benches/compare/redis.py [--ringmain target/release/ringmain] [--rounds 5] [--json FILE]

Both servers are pinned to CPU 0, redis-benchmark to CPU 1; 50 connections, 100-byte values,
100 000 keys loaded into both. Redis: appendonly yes, appendfsync everysec. Ringmain: N=1, one
shard, interval:1000ms. CPU is user + system time of the server process from /proc, with that of
the children in which Redis rewrites its file, as Ringmain merges its own in threads; the table
gives medians and the ratio of the medians. Needs redis-server and redis-benchmark.
"""
import argparse, json, os, platform, re, shutil, signal, statistics, subprocess, sys, tempfile

CONNECTIONS, KEYS, VALUE = 50, 100_000, 100
TICK = os.sysconf("SC_CLK_TCK")


class Server:
    """One server process, pinned to CPU 0, with a data folder of its own."""

    def __init__(self, name, command, port_of):
        self.name = name
        self.folder = tempfile.mkdtemp(prefix=f"compare-{name}-")
        self.process = subprocess.Popen(
            ["taskset", "-c", "0"] + command(self.folder),
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.port = port_of(self.process.stdout)

    def cpu_seconds(self):
        """User and system time so far, of all threads and of children that have ended."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) / TICK

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)


def ringmain(binary):
    def command(folder):
        return [binary, "start", "--data-dir", f"{folder}/data", "--resp-port", "0", "--port", "0",
                "--admin-port", "0", "--shards", "1", "--cpus", "0", "--n", "1", "--r", "1",
                "--w", "1", "--durability", "interval:1000ms", "--log-level", "warn"]

    def port_of(stdout):
        return int(re.search(r"resp=\S+:(\d+)", stdout.readline()).group(1))
    return Server("ringmain", command, port_of)


def redis():
    port = 17379

    def command(folder):
        return ["redis-server", "--port", str(port), "--dir", folder, "--appendonly", "yes",
                "--appendfsync", "everysec", "--save", "", "--daemonize", "no"]

    def port_of(stdout):
        for line in stdout:
            if "Ready to accept connections" in line:
                return port
        sys.exit("redis-server did not start: is its port taken?")
    return Server("redis", command, port_of)


def benchmark(server, test, pipeline, count):
    """CPU microseconds of the server and requests per second."""
    before = server.cpu_seconds()
    out = subprocess.run(
        ["taskset", "-c", "1", "redis-benchmark", "-h", "127.0.0.1", "-p", str(server.port),
         "-t", test, "-n", str(count), "-c", str(CONNECTIONS), "-P", str(pipeline),
         "-r", str(KEYS), "-d", str(VALUE), "--csv"],
        check=True, capture_output=True, text=True)
    if "ERR" in out.stdout + out.stderr or "WARN" in out.stderr.upper().replace("WARNING: COULD NOT FETCH SERVER CONFIG", ""):
        sys.exit(f"{server.name}: {out.stdout}{out.stderr}")
    used = server.cpu_seconds() - before
    row = [line for line in out.stdout.splitlines() if line.upper().startswith(f'"{test.upper()}"')]
    return used / count * 1e6, float(row[0].split(",")[1].strip('"'))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ringmain", default="target/release/ringmain")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=1_000_000, help="requests with -P 16")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    servers = [ringmain(os.path.abspath(options.ringmain)), redis()]
    cells = {}
    try:
        for server in servers:
            benchmark(server, "set", 16, 6 * KEYS)
        for _ in range(options.rounds):
            for test in ("get", "set"):
                for pipeline in (16, 1):
                    count = options.count if pipeline == 16 else options.count // 5
                    for server in servers:
                        cell = cells.setdefault((test, pipeline, server.name), [])
                        cell.append(benchmark(server, test, pipeline, count))
                    
    finally:
        for server in servers:
            server.stop()
    report(cells, options)


def report(cells, options):
    version = subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout
    print(f"{platform.platform()}, {os.cpu_count()} CPUs; {version.strip()}")
    print(f"{options.rounds} rounds, medians; CPU µs per operation (requests per second)")
    print("| test | pipeline | Ringmain | Redis | ratio | ratios by round |")
    print("|---|---|---|---|---|---|")
    figures = []
    for test in ("get", "set"):
        for pipeline in (16, 1):
            ours, theirs = cells[test, pipeline, "ringmain"], cells[test, pipeline, "redis"]
            cpu = [statistics.median(x[0] for x in side) for side in (ours, theirs)]
            rate = [statistics.median(x[1] for x in side) for side in (ours, theirs)]
            ratios = sorted(a[0] / b[0] for a, b in zip(ours, theirs))
            spread = f"{ratios[0]:.2f}–{ratios[-1]:.2f}"
            print(f"| {test.upper()} | {pipeline} | {cpu[0]:.2f} ({rate[0]:.0f}) "
                  f"| {cpu[1]:.2f} ({rate[1]:.0f}) | {cpu[0] / cpu[1]:.2f} | {spread} |")
            figures.append({"test": test, "pipeline": pipeline, "ringmain_us": cpu[0],
                            "redis_us": cpu[1], "ratio": cpu[0] / cpu[1]})
    if options.json:
        with open(options.json, "w") as out:
            json.dump(figures, out, indent=1)


if __name__ == "__main__":
    main()
