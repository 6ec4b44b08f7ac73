#!/usr/bin/env python3
"""Three processes of the example `kv` beside three etcd servers, on this machine, in one interleaved run.

    benches/etcd/kv.py [--rounds 5] [--seconds 2] [--kills 20] [--seed 1] [--folder DIR] [--etcd PATH]

Measured: answers a second and how long they take, for puts, linearizable reads and half of each, at 1 to 256 connections,
and for reads of what each server has; CPU of the servers and syncs a put; and for how long nobody can write when the leader
is killed. Both sides have pre-vote, heartbeats of 100 ms, an election timeout of 1,000 ms, their folders on the same file
system, and sync before they acknowledge. All else is as each comes: snapshots, compaction, batches, and how the leader knows
that it may answer a read (`kv` by its lease, which trusts the rates of clocks; etcd asks a quorum).

**Who is asked.** The leader, on both sides: by the example `kv_bench` over HTTP, which for etcd is its gateway to gRPC in
the same process, and by `benches/etcd/grpc` over gRPC, which is what etcd's own clients speak. Workers have a connection
each and wait for each answer; `gRPC, shared` has the same workers on 8 connections. Stale reads are spread over all
servers, which ask nobody. Values have 16 to 256 bytes, keys are 1,000. Client and servers share the machine.

**Interleaved.** In each round every side has its slice of every load, in an order that changes. A ratio is the median of
those of the rounds, each within one round, so that noise of the machine hits both.

**Kills.** Eight workers write with pauses of 5 ms and a patience of 100 ms with each request; the leader is killed with
SIGKILL. Told is the longest time without an acknowledged write, and the time until another one has said it leads.

Needs Linux, Python 3.9, cargo, and etcd: from PATH, or else its Debian package is downloaded and unpacked, not installed.
Syncs are counted by `perf`, if it may. Everything but cargo's target folder is in one temporary folder (in DIR) that is
removed at the end. Only processes started here are ended.
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from clusters import (
    DIE_WITH_PARENT, ELECTION, HEARTBEAT, ROOT, Cluster, Etcds, build, build_example, enter, find_etcd, give_up, libc,
    now, spread,
)

KEYS, WORKERS, SHARED = 1000, [1, 16, 64, 256], 8
LOADS = {
    **{f"puts, {workers}": (workers, ["--reads=0"]) for workers in WORKERS},
    **{f"gets, {workers}": (workers, ["--reads=100"]) for workers in WORKERS},
    "half of each, 64": (64, ["--reads=50"]),
    "stale gets, 64": (64, ["--reads=100", "--stale"]),
}
SETTLE = 1.0  # whole for that long before the next kill
LIGHT = ["--connections=8", "--pause=5ms", "--timeout=100ms"]
AFTER = 4.0  # the light load goes on for that long after a kill
TICK = os.sysconf("SC_CLK_TCK")


def millis(seconds):
    return f"{int(seconds * 1000)}ms"


class Kvs(Cluster):
    PIPE = "stdout"

    def arguments(self, number, first):
        size = len(self.members)
        mesh, http = ([f"127.0.0.1:{port}" for port in part] for part in (self.ports[:size], self.ports[size:]))
        data = self.folder / str(number)
        data.mkdir(exist_ok=True)
        peers = [f"--peer={other}={mesh[other]},{http[other]}" for other in range(size) if other != number]
        times = ["--election-timeout", millis(ELECTION), "--heartbeat-interval", millis(HEARTBEAT)]
        own = ["--id", str(number), "--listen", mesh[number], "--http", http[number], "--data", str(data)]
        return ["serve", *own, *peers, *times]

    def hear(self, member, line, at):
        _, role, *fields = line.split(" ")
        note = dict(field.split("=", 1) for field in fields)
        if "term" not in note:
            return
        term = int(note["term"])
        member.follows = None if note["leader"] == "-" else (note["leader"], term)
        if role == "leader":
            self.win(member, term, at)

    def is_healthy(self):
        """All hold the same, as far as that can be seen while nobody writes."""

        def ask():
            said = set()
            for port in self.ports[len(self.members):]:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=2) as answer:
                    status = json.load(answer)
                    said.add((status["leader"], status["term"], status["last"], status["commit"]))
            return len(said) == 1

        try:
            return self.network.inside(ask)
        except OSError:
            time.sleep(0.05)
            return False


class Side:
    """A cluster, and a program that puts load on it."""

    def __init__(self, name, cluster, program, flag, scheme="", extra=()):
        self.name, self.cluster, self.program, self.flag = name, cluster, program, flag
        self.scheme, self.extra = scheme, list(extra)

    def begin(self, *options):
        """Starts the load, of which the leader hears first."""
        cluster = self.cluster
        leader, _ = cluster.won[cluster.wait("a whole cluster", cluster.whole)]
        first, size = cluster.members.index(leader), len(cluster.members)
        ports = [cluster.ports[size + (first + number) % size] for number in range(size)]
        nodes = ",".join(f"{self.scheme}127.0.0.1:{port}" for port in ports)

        def prepare():
            libc.prctl(DIE_WITH_PARENT, signal.SIGKILL)
            enter(cluster.network.fd)

        command = [self.program, f"--{self.flag}={nodes}", "--json", f"--keys={KEYS}", *self.extra, *options]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, preexec_fn=prepare)

    def finish(self, load):
        """Its output is one short line, which the pipe holds."""
        while load.poll() is None:
            Cluster.pump(0.05)
        with load.stdout:
            if load.returncode != 0:
                give_up(f"{self.name}: the load has ended with {load.returncode}")
            return json.load(load.stdout)

    def run(self, *options):
        return self.finish(self.begin(*options))

    def pids(self):
        return [member.process.pid for member in self.cluster.members]

    def cpu(self):
        """Seconds on a core that the servers have used, by threads that have ended too."""
        spent = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            spent += int(fields[11]) + int(fields[12])
        return spent / TICK


def slice_of(side, workers, what, seconds):
    before = side.cpu()
    said = side.run(f"--connections={workers}", *what, f"--duration={millis(seconds)}", "--filled")
    spent = side.cpu() - before
    kinds = [said[kind] for kind in ("puts", "gets") if kind in said]
    answers = sum(kind["count"] for kind in kinds)
    return {
        "rate": answers / said["seconds"],
        **{quantile: max(kind[f"{quantile}_ms"] for kind in kinds) for quantile in ("p50", "p99")},
        "cpu": 1e6 * spent / answers,
        "unanswered": sum(said["unanswered"].values()),
    }


def throughput(sides, options, rng):
    """For each load and side, the slices of all rounds, in their order."""
    found = {name: {side.name: [] for side in sides} for name in LOADS}
    for number in range(options.rounds):
        for name, (workers, what) in LOADS.items():
            for side in rng.sample(sides, len(sides)):
                if not (side.extra and workers <= SHARED):
                    found[name][side.name].append(slice_of(side, workers, what, options.seconds))
        print(f"\rround {number + 1} of {options.rounds}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return found


def table(title, columns, found, cell):
    print(f"\n| {title} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, slices in found.items():
        cells = [cell(slices, column) if slices[column] else "" for column in columns]
        print(f"| {name} | {' | '.join(cells)} |")


def print_throughput(found, sides):
    names = [side.name for side in sides]

    def middle(slices, side, key):
        return statistics.median(it[key] for it in slices[side])

    def ratio(slices, side):
        ratios = [ours["rate"] / theirs["rate"] for ours, theirs in zip(slices[names[0]], slices[side])]
        return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"

    table("answers a second", names, found, lambda slices, side: f"{middle(slices, side, 'rate'):,.0f}")
    table(f"{names[0]}: answers a second, of these", names[1:], found, ratio)
    two = lambda slices, side: f"{middle(slices, side, 'p50'):.2f} / {middle(slices, side, 'p99'):.1f}"
    table("p50 / p99, ms", names, found, two)
    table("CPU of the servers, us an answer", names, found, lambda slices, side: f"{middle(slices, side, 'cpu'):.0f}")
    for name, slices in found.items():
        for side in names:
            if missing := sum(it["unanswered"] for it in slices[side]):
                print(f"\n{name}: {side}: {missing} unanswered")


def syncs(side, workers, seconds):
    """How often the three servers sync for one put, or nothing if `perf` is not there or may not say."""
    events = ["syscalls:sys_enter_fsync", "syscalls:sys_enter_fdatasync"]
    pids = ",".join(map(str, side.pids()))
    command = ["perf", "stat", "-x,", "-e", ",".join(events), "-p", pids]
    try:
        counter = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    except OSError:
        return None
    Cluster.rest(0.3)
    said = side.run(f"--connections={workers}", "--reads=0", f"--duration={millis(seconds)}", "--filled")
    counter.send_signal(signal.SIGINT)
    lines = counter.communicate()[1].splitlines()
    counts = [line.split(",")[0] for line in lines if "sys_enter" in line]
    if len(counts) != len(events) or not all(count.isdigit() for count in counts):
        return None
    return sum(map(int, counts)) / said["puts"]["count"]


def print_syncs(sides, seconds):
    print(f"\n| syncs of the three servers for one put | {' | '.join(map(str, WORKERS))} |\n|---|{'---|' * len(WORKERS)}")
    for side in sides:
        counts = [syncs(side, workers, seconds) for workers in WORKERS]
        print(f"| {side.name} | {' | '.join('-' if it is None else f'{it:.3f}' for it in counts)} |")


def kill(side, phase):
    """Kills the leader under light load. Gives the longest silence, and when the next one led, in seconds."""
    cluster = side.cluster
    cluster.wait("a whole cluster", cluster.whole)
    cluster.rest(SETTLE)
    old = cluster.wait("a whole cluster", cluster.whole)
    leader, _ = cluster.won[old]
    load = side.begin("--reads=0", "--filled", f"--duration={millis(SETTLE + phase + AFTER)}", *LIGHT)
    cluster.rest(SETTLE + phase)
    killed = cluster.kill(leader)
    term = cluster.wait("the next leader", lambda: max((it for it in cluster.won if it > old), default=None))
    said = side.finish(load)
    cluster.reap(leader)
    cluster.spawn(leader, first=False)
    return said["silence_ms"] / 1000, cluster.won[term][1] - killed


def kills(sides, options, rng):
    found = {side.name: [] for side in sides}
    for trial in range(options.kills):
        for side in rng.sample(sides, len(sides)):
            found[side.name].append(kill(side, rng.uniform(0, HEARTBEAT)))
        print(f"\rkill {trial + 1} of {options.kills}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return found


def print_kills(found, count):
    print(f"\n| kill -9 of the leader, {count} a side, ms: median / 9th tenth / max | without a write | until another leads |")
    print("|---|---|---|")
    for name, times in found.items():
        cells = [" / ".join(f"{1000 * it:,.0f}" for it in spread(column)) for column in zip(*times)]
        print(f"| {name} | {' | '.join(cells)} |")


def disk(folder, count=500):
    """Synced writes of 4 KiB in place, a second."""
    with open(folder / "disk", "wb", buffering=0) as file:
        began = now()
        for _ in range(count):
            os.pwrite(file.fileno(), b"x" * 4096, 0)
            os.fdatasync(file.fileno())
        return count / (now() - began)


def load_average():
    return " / ".join(f"{it:.1f}" for it in os.getloadavg())


def run(options, folder):
    kv, bench = options.kv or build_example("kv"), options.bench or build_example("kv_bench")
    grpc = options.grpc or build("etcd-grpc", "--locked", folder=ROOT / "benches/etcd/grpc")
    etcd = options.etcd or find_etcd(folder / "etcd-package")
    version = subprocess.run([etcd, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    print(f"{version}; {platform.system()} {platform.release()}, {os.cpu_count()} cores; heartbeat {HEARTBEAT * 1000:.0f} ms, ", end="")
    print(f"election timeout {ELECTION * 1000:.0f} ms, pre-vote on; {options.rounds} rounds, {options.seconds} s a slice")
    print(f"load {load_average()} before; the disk makes {disk(folder):,.0f} synced writes of 4 KiB a second")
    rng = random.Random(options.seed)

    kvs, etcds = Kvs(kv, folder / "kvs"), Etcds(etcd, folder / "etcds")
    ours = Side("kv, HTTP", kvs, bench, "at")
    theirs = Side("etcd, HTTP", etcds, bench, "etcd")
    native = Side("etcd, gRPC", etcds, grpc, "etcd", "http://")
    shared = Side("etcd, gRPC, shared", etcds, grpc, "etcd", "http://", [f"--channels={SHARED}"])
    for side in (ours, theirs):
        side.cluster.start()
        # Each key is written once.
        side.run("--requests=1")
    sides = [ours, theirs, native, shared]
    if options.rounds:
        print_throughput(throughput(sides, options, rng), sides)
        print_syncs([ours, theirs, native], options.seconds)
        print(f"\nload {load_average()} after; the disk makes {disk(folder):,.0f} synced writes of 4 KiB a second")
    if options.kills:
        print_kills(kills([ours, theirs], options, rng), options.kills)
        print(f"\nload {load_average()} after the kills; the disk makes {disk(folder):,.0f} synced writes of 4 KiB a second")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how many slices each load and side has")
    parser.add_argument("--seconds", type=float, default=2, help="how long a slice is")
    parser.add_argument("--kills", type=int, default=20, help="how often each leader is killed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", help="where the temporary folder is made: on the disk to measure")
    parser.add_argument("--kv", help="the example kv, built already")
    parser.add_argument("--bench", help="the example kv_bench, built already")
    parser.add_argument("--grpc", help="benches/etcd/grpc, built already")
    parser.add_argument("--etcd", help="an etcd server, 3.4 or newer")
    options = parser.parse_args()
    if platform.system() != "Linux":
        give_up("needs Linux: /proc and network namespaces")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of `finally`
    folder = Path(tempfile.mkdtemp(prefix="streamraft-etcd-", dir=options.folder))
    try:
        run(options, folder)
    finally:
        for cluster in Cluster.all:
            cluster.end()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
