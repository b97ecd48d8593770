"""The servers: each a process of its own, pinned, in a folder of its own, ended by its id."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

TICK = os.sysconf("SC_CLK_TCK")
# How long a server may take to start, to end, and to do what a load left to do.
START_S, STOP_S, SETTLE_S = 30, 20, 30
LOOK_S = 0.1
INSTALL = "apt-get install -y --no-install-recommends redis-server memcached"


class Failure(Exception):
    """What happened, for people."""


class Server:
    """One running process. With `port`, it is ready once that takes a connection, else once it
    has printed a line `ready name=address ...`."""

    def __init__(self, name, command, cpus, root, port=None):
        self.name = name
        self.folder = tempfile.mkdtemp(prefix=f"compare-{name.replace(' ', '-')}-", dir=root)
        self.errors = os.path.join(self.folder, "stderr")
        command = [word.replace("{folder}", self.folder) for word in command]
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stderr=errors,
                stdout=subprocess.DEVNULL if port else subprocess.PIPE, text=True,
                start_new_session=True, preexec_fn=lambda: os.sched_setaffinity(0, cpus))
        try:
            self.addresses = self.await_port(port) if port else self.await_line()
        except BaseException:
            self.stop()
            raise

    def await_port(self, port):
        for _ in range(int(START_S / LOOK_S)):
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return {"resp": f"127.0.0.1:{port}"}
            except OSError:
                time.sleep(LOOK_S)
        raise Failure(f"{self.name} did not start: {self.last_words()}")

    def await_line(self):
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            raise Failure(f"{self.name} did not start: {self.last_words()}")
        return dict(re.findall(r"(\w+)=(\S+)", line))

    def last_words(self):
        with open(self.errors, encoding="utf-8", errors="replace") as errors:
            return errors.read()[-500:].strip() or "it said nothing"

    @property
    def resp(self):
        return self.addresses["resp"]

    def cpu_seconds(self):
        """User and system time so far, of all threads and of children that have ended."""
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) / TICK

    def has_children(self):
        pid = self.process.pid
        try:
            with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as children:
                return bool(children.read().strip())
        except FileNotFoundError:
            return False

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Group:
    """Nodes of one cluster, measured as one."""

    def __init__(self, name):
        self.name = name
        self.servers = []

    @property
    def resp(self):
        return ",".join(server.resp for server in self.servers)

    def cpu_seconds(self):
        return sum(server.cpu_seconds() for server in self.servers)

    def has_children(self):
        return any(server.has_children() for server in self.servers)

    def stop(self):
        for server in self.servers:
            server.stop()


def settle(server):
    """Waits until a server has done what a load left to do, so that it pays for it."""
    last = server.cpu_seconds()
    for _ in range(int(SETTLE_S / LOOK_S)):
        time.sleep(LOOK_S)
        now = server.cpu_seconds()
        if now - last <= 1 / TICK and not server.has_children():
            return
        last = now


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ringmain(bed, name="Ringmain", shards=1, durability="interval:1000ms", more=()):
    """A node of its own cluster, with N = R = W = 1."""
    cpus = bed.server_cpus[:shards]
    command = [
        bed.ringmain, "start", "--data-dir", "{folder}/data", "--resp-port", "0", "--port", "0",
        "--admin-port", "0", "--shards", str(shards), "--cpus", ",".join(map(str, cpus)),
        "--durability", durability, "--log-level", "warn", "--name", name.replace(" ", "-"),
        *(more or ("--n", "1", "--r", "1", "--w", "1"))]
    return Server(name, command, cpus, bed.root)


def cluster(bed, count=3):
    """Nodes with N = 3, R = W = 2, all on one CPU, on a loopback network of their own."""
    group = Group(f"{count} nodes")
    network = f"127.{64 + os.getpid() % 64}.{time.time_ns() // 1000 % 250 + 1}"
    try:
        for index in range(1, count + 1):
            more = ["--listen", f"{network}.{index}", "--n", "3", "--r", "2", "--w", "2"]
            if index > 1:
                more += ["--seed", group.servers[0].addresses["native"], "--join"]
            group.servers.append(ringmain(bed, f"node {index}", more=more))
        await_converged(bed, group.servers[0], count)
    except BaseException:
        group.stop()
        raise
    return group


def await_converged(bed, node, count):
    command = [bed.ringmain, "cluster", "status", "--json", "--node", node.addresses["native"]]
    for _ in range(int(START_S / LOOK_S)):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            status = json.loads(done.stdout)
            alive = [one for one in status["nodes"] if one["state"] == "alive"]
            if len(alive) == count and status["active_topologies"] == 1:
                return
        time.sleep(LOOK_S)
    raise Failure(f"{count} nodes did not become one cluster: {done.stdout}{done.stderr}")


def redis(bed, name="Redis", fsync="everysec"):
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", "{folder}",
               "--appendonly", "yes", "--appendfsync", fsync, "--save", "", "--daemonize", "no"]
    return Server(name, command, bed.server_cpus[:1], bed.root, port)


def memcached(bed, name="memcached"):
    """One thread that answers, and as much memory as is never needed."""
    port = free_port()
    command = ["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", "1",
               "-m", "1024", "-u", "root"]
    return Server(name, command, bed.server_cpus[:1], bed.root, port)


def bare(bed, name="bare ring"):
    command = [bed.bare, "serve", "--port", "0"]
    return Server(name, command, bed.server_cpus[:1], bed.root)


def is_there(binary):
    return shutil.which(binary) is not None


def version(*command):
    """The first line that a program says of its version."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return (done.stdout or done.stderr).strip().splitlines()[0]
