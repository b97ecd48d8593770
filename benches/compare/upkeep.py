#!/usr/bin/env python3
"""What background work costs: CPU per operation of three nodes with anti-entropy, hints and probes
at their defaults, against the same nodes with all intervals out of reach, in turn in one run.

usage: benches/compare/upkeep.py [--ringmain target/release/ringmain] [--pairs 9] [--count 200000]

Each pair is two clusters, the one behind the other, in changing order: N=3, R=W=2, one shard a
node, durability none, on the CPUs of this machine. Keys are loaded first, then redis-benchmark
writes and reads with 50 connections, pipelines of 16 and 100-byte values. CPU is user + system
time of all nodes from /proc. Prints each ratio, their median, and the bound below which the true
median lies with 95 % (order statistics: of nine pairs the eighth). Needs redis-benchmark.
"""
import argparse, os, re, shutil, signal, statistics, subprocess, sys, tempfile

CONNECTIONS, PIPELINE, KEYS, VALUE, NODES = 50, 16, 100_000, 100, 3
TICK = os.sysconf("SC_CLK_TCK")
OFF = ["--anti-entropy-interval", "1d", "--hint-interval", "1d", "--probe-interval", "1h"]


class Cluster:
    """Three nodes on a loopback network."""

    def __init__(self, binary, settings):
        self.folder = tempfile.mkdtemp(prefix="upkeep-")
        network = f"127.77.{os.getpid() % 250 + 1}"
        self.host, self.nodes = f"{network}.1", []
        for index in range(1, NODES + 1):
            enter = ["--seed", f"{network}.1:7400", "--join"] if index > 1 else []
            node = subprocess.Popen(
                [binary, "start", "--listen", f"{network}.{index}", "--shards", "1",
                 "--data-dir", f"{self.folder}/{index}", "--durability", "none",
                 "--log-level", "warn", *settings, *enter],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            self.nodes.append(node)
            if not re.match("ready ", node.stdout.readline()):
                sys.exit("a node did not start: is its address taken?")
        while self.ask("RM.PUT", "formed", "-", "x", "W", "3")[:2] == "ER" or \
                "UNAVAILABLE" in self.ask("RM.PUT", "formed", "-", "x", "W", "3"):
            pass

    def ask(self, *words):
        done = subprocess.run(["redis-cli", "-h", self.host, "-p", "7379", *words],
                              capture_output=True, text=True)
        return done.stdout + done.stderr

    def cpu_seconds(self):
        total = 0
        for node in self.nodes:
            with open(f"/proc/{node.pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            total += sum(map(int, fields[11:13]))
        return total / TICK

    def load(self, test, count):
        subprocess.run(
            ["redis-benchmark", "-h", self.host, "-p", "7379", "-t", test, "-n", str(count),
             "-c", str(CONNECTIONS), "-P", str(PIPELINE), "-r", str(KEYS), "-d", str(VALUE), "-q"],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        for node in self.nodes:
            node.send_signal(signal.SIGTERM)
        for node in self.nodes:
            node.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)


def measure(binary, settings, count):
    """CPU microseconds of all nodes per operation."""
    cluster = Cluster(binary, settings)
    cluster.load("set", KEYS)
    before = cluster.cpu_seconds()
    for test in ["set", "get"]:
        cluster.load(test, count)
    used = cluster.cpu_seconds() - before
    cluster.stop()
    return used / (2 * count) * 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ringmain", default="target/release/ringmain")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--count", type=int, default=200_000)
    options = parser.parse_args()
    ratios = []
    for pair in range(options.pairs):
        sides = [("on", []), ("off", OFF)]
        used = {}
        for name, settings in sides if pair % 2 == 0 else reversed(sides):
            used[name] = measure(options.ringmain, settings, options.count)
        ratios.append(used["on"] / used["off"])
        print(f"pair {pair + 1}: on {used['on']:.2f} us, off {used['off']:.2f} us, "
              f"ratio {ratios[-1]:.3f}", flush=True)
    ordered = sorted(ratios)
    bound = ordered[-2] if len(ordered) >= 9 else ordered[-1]
    print(f"median ratio {statistics.median(ratios):.3f}, upper bound {bound:.3f}")


if __name__ == "__main__":
    main()
