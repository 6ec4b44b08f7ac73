#!/usr/bin/env python3
"""Three processes of the example `node` beside three etcd servers, on this machine, in one interleaved run.

    benches/etcd/compare.py [--trials 30] [--seed 1] [--node PATH] [--etcd PATH]

Measured: start to leader; kill -9 of the leader to the next one; CPU, memory and traffic at rest; the memory of a
`node` with 2 and with 100 peers. Both sides have pre-vote, heartbeats of 100 ms, an election timeout of 1,000 ms, and
a folder in the same place for what they keep.

**When a leader counts.** Both print a line when they become leader: `node` on standard output (`.. leader term=3 ..`),
etcd on standard error (`.. became leader at term 3`). One loop reads all pipes and stamps each line as it arrives. The
clock starts right before the signal is sent. The same is measured until every survivor has said whom it follows.

**Interleaved.** Each trial kills one leader of either cluster, in an order that changes, at a random phase of the
heartbeat, after the cluster has been whole for a while. Noise of the machine hits both alike.

Needs Linux, Python 3.9, cargo (unless --node), and etcd: from PATH, or else its Debian package is downloaded and
unpacked, not installed. With root each cluster has a network namespace of its own, whose counters give the traffic;
without, traffic is not measured. Everything but cargo's target folder is in one temporary folder that is removed at
the end. Only processes started here are ended.
"""

import argparse
import glob
import os
import platform
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from clusters import ELECTION, HEARTBEAT, Cluster, Etcds, build_example, find_etcd, give_up, millis, now, spread

SETTLE = 1.5  # whole for that long before the next kill


class Nodes(Cluster):
    PIPE = "stdout"
    bootstrap = False
    keep = True

    def arguments(self, number, first):
        peers = [
            f"--peer={member.name}=127.0.0.1:{self.ports[other]}"
            for other, member in enumerate(self.members)
            if other != number
        ]
        times = ["--election-timeout", f"{int(ELECTION * 1000)}ms", "--heartbeat-interval", f"{int(HEARTBEAT * 1000)}ms"]
        listen = f"127.0.0.1:{self.ports[number]}"
        options = ["--bootstrap"] if self.bootstrap and first else []
        data = ["--data", str(self.folder)] if self.keep else []
        return ["--id", self.members[number].name, "--listen", listen, *peers, *times, *data, *options]

    def hear(self, member, line, at):
        _, role, *fields = line.split(" ")
        note = dict(field.split("=", 1) for field in fields)
        term = int(note["term"])
        member.note = {"role": role, **note}
        member.follows = None if note["leader"] == "-" else (note["leader"], term)
        if role == "leader":
            self.win(member, term, at)
            if note["lease"] != "-":
                self.leased.setdefault(term, at)

    def is_healthy(self):
        leader = next((it for it in self.members if it.note.get("role") == "leader"), None)
        others = len(self.members) - 1
        return leader and len(leader.note["followers"].split(",")) == others and leader.note["followers"] != "-"


def failover(cluster, phase):
    """Kills the leader. Gives the times until the next one, until all survivors follow it, and until it has a lease."""
    cluster.wait("a whole cluster", cluster.whole)
    cluster.rest(SETTLE + phase)
    old = cluster.wait("a whole cluster", cluster.whole)
    leader, _ = cluster.won[old]
    killed = cluster.kill(leader)
    term = cluster.wait("the next leader", lambda: max((it for it in cluster.won if it > old), default=None))
    known = cluster.wait("the survivors", lambda: cluster.agreed(old) and now())
    times = [cluster.won[term][1] - killed, known - killed]
    if isinstance(cluster, Nodes):
        times.append(cluster.wait("a lease", lambda: cluster.leased.get(cluster.agreed(old))) - killed)
    cluster.reap(leader)
    cluster.spawn(leader, first=False)
    return times, term - old


def start_to_leader(kind, program, folder, bootstrap):
    cluster = kind(program, folder)
    cluster.bootstrap = bootstrap
    began = cluster.start()
    term = cluster.wait("the first leader", lambda: min(cluster.won, default=None))
    took = cluster.won[term][1] - began
    cluster.end()
    return took


def cpu(pid):
    """Seconds on a core, of all threads."""
    spent = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        spent += int(Path(path).read_text().split()[0])
    return spent / 1e9


def memory(pid):
    """Resident memory in MB, and the part of it that is no file."""
    text = Path(f"/proc/{pid}/status").read_text()
    return [int(re.search(rf"{key}:\s+(\d+) kB", text)[1]) / 1024 for key in ["VmRSS", "RssAnon"]]


def at_rest(clusters, seconds):
    """For each cluster: CPU of leader and followers in percent, memory, traffic a second."""
    for cluster in clusters:
        cluster.wait("a whole cluster", cluster.whole)
    Cluster.rest(SETTLE)
    apart = all(cluster.network.apart for cluster in clusters) and shutil.which("ss")

    def look():
        return [
            ([cpu(it.process.pid) for it in cluster.members], cluster.network.traffic() if apart else [], now())
            for cluster in clusters
        ]

    before = look()
    Cluster.rest(seconds)
    after = look()
    found = []
    for cluster, (cpu_a, net_a, at_a), (cpu_b, net_b, at_b) in zip(clusters, before, after):
        leader = cluster.won[cluster.agreed()][0]
        share = [100 * (b - a) / (at_b - at_a) for a, b in zip(cpu_a, cpu_b)]
        number = cluster.members.index(leader)
        sizes = [memory(it.process.pid) for it in cluster.members]
        found.append({
            "cpu of the leader, % of a core": share[number],
            "cpu of a follower, % of a core": statistics.mean(share[:number] + share[number + 1:]),
            "resident memory of a process, MB": statistics.median(it[0] for it in sizes),
            "  of it not from files, MB": statistics.median(it[1] for it in sizes),
            **dict(zip(
                ["bytes a second, with headers", "packets a second", "bytes of payload a second", "segments with payload a second"],
                [(b - a) / (at_b - at_a) for a, b in zip(net_a, net_b)],
            )),
        })
    return found


def memory_by_peers(program, folder, peers):
    cluster = Nodes(program, folder, size=peers + 1)
    cluster.bootstrap = True
    cluster.start()
    cluster.wait("a whole cluster", cluster.whole)
    Cluster.rest(3)
    leader = cluster.won[cluster.wait("a whole cluster", cluster.whole)][0]
    sizes = {member.name: memory(member.process.pid) for member in cluster.members}
    cluster.end()
    lead = sizes.pop(leader.name)
    follow = [statistics.median(it[part] for it in sizes.values()) for part in (0, 1)]
    return lead, follow


def print_times(rows):
    print(f"\n{'ms, median / 9th tenth / max':<48}{'node':>24}{'etcd':>24}  median: node / etcd")
    for name, ours, theirs in rows:
        cells = [" / ".join(map(millis, spread(times))) if times else "-" for times in (ours, theirs)]
        ratio = f"{statistics.median(ours) / statistics.median(theirs):.2f}" if theirs else ""
        print(f"{name + f' ({len(ours)} trials)':<48}{cells[0]:>24}{cells[1]:>24}  {ratio}")


def print_rest(ours, theirs):
    print(f"\n{'at rest':<48}{'node':>24}{'etcd':>24}  node / etcd")
    for name in ours:
        ratio = f"{ours[name] / theirs[name]:.3f}" if theirs[name] else ""
        print(f"{name:<48}{ours[name]:>24,.2f}{theirs[name]:>24,.2f}  {ratio}")
    if len(ours) < 8:
        print("traffic was not measured: that takes root, for network namespaces, and `ss`")


def run(options, folder):
    node = options.node or build_example("node")
    etcd = options.etcd or find_etcd(folder / "etcd-package")
    version = subprocess.run([etcd, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    load = ", ".join(f"{it:.1f}" for it in os.getloadavg())
    print(f"{version}; {platform.system()} {platform.release()}, {os.cpu_count()} cores, load {load}; ", end="")
    print(f"heartbeat {HEARTBEAT * 1000:.0f} ms, election timeout {ELECTION * 1000:.0f} ms, pre-vote on")
    rng = random.Random(options.seed)

    cold = {"node": [], "etcd": [], "bootstrap": []}
    for trial in range(options.starts):
        kinds = [("node", Nodes, node), ("etcd", Etcds, etcd), ("bootstrap", Nodes, node)]
        rng.shuffle(kinds)
        for name, kind, program in kinds:
            place = folder / f"start-{name}-{trial}"
            cold[name].append(start_to_leader(kind, program, place, name == "bootstrap"))

    nodes, etcds = Nodes(node, folder / "nodes"), Etcds(etcd, folder / "etcds")
    for cluster in (nodes, etcds):
        cluster.start()
        cluster.wait("a whole cluster", cluster.whole)
    rest = at_rest([nodes, etcds], options.rest)
    times, terms = {nodes: [], etcds: []}, {nodes: 0, etcds: 0}
    for trial in range(options.trials):
        order = [nodes, etcds]
        rng.shuffle(order)
        for cluster in order:
            took, passed = failover(cluster, rng.uniform(0, HEARTBEAT))
            times[cluster].append(took)
            terms[cluster] += passed > 1
        print(f"\rtrial {trial + 1} of {options.trials}", end="", file=sys.stderr)
    print(file=sys.stderr)
    for cluster in (nodes, etcds):
        cluster.end()

    ours, theirs = ([list(column) for column in zip(*times[cluster])] for cluster in (nodes, etcds))
    print_times([
        ("start to leader", cold["node"], cold["etcd"]),
        ("start to leader, node with --bootstrap", cold["bootstrap"], cold["etcd"]),
        ("kill -9 of the leader to the next", ours[0], theirs[0]),
        ("  until all survivors follow it", ours[1], theirs[1]),
        ("  until it has a lease", ours[2], []),
    ])
    print(f"failovers that took more than one term: node {terms[nodes]}, etcd {terms[etcds]}")
    print_rest(*rest)
    print(f"\n{'memory of a node, MB, resident / not from files':<48}{'leader':>24}{'follower':>24}")
    for peers in (2, 100):
        cells = ["{:.1f} / {:.1f}".format(*it) for it in memory_by_peers(node, folder / f"peers-{peers}", peers)]
        print(f"{f'with {peers} peers':<48}{cells[0]:>24}{cells[1]:>24}")

    ratio, longest = statistics.median(ours[0]) / statistics.median(theirs[0]), max(ours[0])
    print(f"\nmedian at most 0.75 of etcd's: {'yes' if ratio <= 0.75 else 'NO'} ({ratio:.2f})")
    print(f"max under 1.3 election timeouts: {'yes' if longest < 1.3 * ELECTION else 'NO'} ({millis(longest)} ms)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=30, help="how often each leader is killed")
    parser.add_argument("--starts", type=int, default=10, help="how often each cluster is started anew")
    parser.add_argument("--rest", type=float, default=20, help="for how many seconds it is watched at rest")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--node", help="the example node, built already")
    parser.add_argument("--etcd", help="an etcd server, 3.4 or newer")
    options = parser.parse_args()
    if platform.system() != "Linux":
        give_up("needs Linux: /proc and network namespaces")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of `finally`
    folder = Path(tempfile.mkdtemp(prefix="streamraft-etcd-"))
    try:
        run(options, folder)
    finally:
        for cluster in Cluster.all:
            cluster.end()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
