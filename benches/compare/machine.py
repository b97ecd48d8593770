"""What the figures were measured on."""

import os
import platform
import shlex
import subprocess
import sys

from servers import version


def describe(bed):
    """Machine, versions, commit and command, line by line."""
    return [
        f"{cpu_model()}, {os.cpu_count()} CPUs, {memory_gib()} GiB, Linux {platform.release()}, "
        f"{file_system(bed.root)}; servers on CPU {listed(bed.server_cpus[:1])}, loads on "
        f"{listed(bed.load_cpus)}",
        "; ".join(versions(bed)),
        f"commit {commit()}",
        f"`{shlex.join([sys.argv[0], *sys.argv[1:]])}`",
    ]


def versions(bed):
    found = [version(bed.ringmain, "--version"), version("redis-server", "--version"),
             version("memcached", "--version")]
    return [line.split(" malloc=")[0] for line in found if line]


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        models = [line.split(": ", 1)[1] for line in lines if line.startswith("model name")]
    return models[0].strip() if models else platform.machine()


def memory_gib():
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def file_system(folder):
    """That of the longest mount point above the folder."""
    folder = os.path.join(os.path.realpath(folder), "")
    with open("/proc/mounts", encoding="utf-8") as lines:
        mounts = [line.split()[1:3] for line in lines]
    above = [(len(point), kind) for point, kind in mounts
             if folder.startswith(os.path.join(point, ""))]
    return max(above)[1] if above else "unknown file system"


def commit():
    here = os.path.dirname(os.path.abspath(__file__))
    command = ["git", "-C", here, "describe", "--always", "--dirty", "--tags", "--abbrev=12"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def listed(cpus):
    return ", ".join(map(str, cpus))
