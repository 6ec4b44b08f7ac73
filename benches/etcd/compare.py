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
import ctypes
import fcntl
import glob
import json
import os
import platform
import random
import re
import selectors
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEARTBEAT, ELECTION = 0.1, 1.0
SETTLE = 1.5  # whole for that long before the next kill
PATIENCE = 60.0
NEW_NETWORK = 0x40000000  # CLONE_NEWNET
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
libc = ctypes.CDLL(None, use_errno=True)
now = time.monotonic


def give_up(why):
    sys.exit(f"compare.py: {why}")


def enter(namespace):
    if namespace is not None and libc.setns(namespace, NEW_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Network:
    """A network namespace with a loopback, or this process's own if it may not make one."""

    def __init__(self):
        self.own = self.fd = None
        before = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.apart = libc.unshare(NEW_NETWORK) == 0
        if self.apart:
            self.own, self.fd = before, os.open("/proc/self/ns/net", os.O_RDONLY)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
                fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
        enter(self.own)

    def inside(self, work):
        enter(self.fd)
        try:
            return work()
        finally:
            enter(self.own)

    def free_ports(self, count):
        def bind():
            sockets = [socket.socket() for _ in range(count)]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            found = [each.getsockname()[1] for each in sockets]
            for each in sockets:
                each.close()
            return found

        return self.inside(bind)

    def traffic(self):
        """Bytes and packets of the loopback, then payload bytes and segments with payload of all open connections."""

        def read():
            # Of this thread, which is in the namespace.
            for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
                name, _, counters = line.partition(":")
                if name.strip() == "lo":
                    received = counters.split()
                    counts = [int(received[0]), int(received[1])]
            sockets = subprocess.run(["ss", "-tinHO"], capture_output=True, text=True, check=True).stdout
            for key in ["bytes_sent", "data_segs_out"]:
                counts.append(sum(map(int, re.findall(rf"\b{key}:(\d+)", sockets))))
            return counts

        return self.inside(read)


class Member:
    def __init__(self, name, pipe):
        self.name, self.pipe = name, pipe
        self.process, self.rest, self.follows, self.note = None, b"", None, {}


class Cluster:
    """Processes, and what their lines have said. One selector reads the pipes of all clusters."""

    selector = selectors.DefaultSelector()
    all = []

    def __init__(self, program, folder, size=3):
        self.program, self.folder, self.network = program, folder, Network()
        folder.mkdir()
        self.members = [Member(f"n{number}", self.PIPE) for number in range(size)]
        self.ports = self.network.free_ports(2 * size)
        self.won, self.leased = {}, {}  # by term: who and when; when
        Cluster.all.append(self)

    def spawn(self, member, first):
        def prepare():
            libc.prctl(DIE_WITH_PARENT, signal.SIGKILL)
            enter(self.network.fd)

        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, member.pipe: subprocess.PIPE}
        member.process = subprocess.Popen(
            [self.program, *self.arguments(self.members.index(member), first)],
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
            preexec_fn=prepare,
            **pipes,
        )
        member.rest, member.follows, member.note = b"", None, {}
        out = getattr(member.process, member.pipe)
        self.selector.register(out, selectors.EVENT_READ, (self, member))

    def start(self):
        began = now()
        for member in self.members:
            self.spawn(member, first=True)
        return began

    def kill(self, member):
        at = now()
        member.process.send_signal(signal.SIGKILL)
        member.follows = None
        return at

    def reap(self, member):
        if member.process.poll() is None:
            member.process.kill()
        member.process.wait()
        out = getattr(member.process, member.pipe)
        if out in self.selector.get_map():
            self.selector.unregister(out)
        out.close()
        member.process = None

    def end(self):
        for member in self.members:
            if member.process is not None:
                self.reap(member)

    @classmethod
    def pump(cls, seconds):
        """Reads whatever comes within that time, or until something has come."""
        for key, _ in cls.selector.select(seconds):
            at, (cluster, member) = now(), key.data
            chunk = os.read(key.fd, 65536)
            if not chunk:
                cls.selector.unregister(key.fileobj)
            *lines, member.rest = (member.rest + chunk).split(b"\n")
            for line in lines:
                cluster.hear(member, line.decode(errors="replace"), at)

    @classmethod
    def rest(cls, seconds):
        end = now() + seconds
        while (left := end - now()) > 0:
            cls.pump(left)

    def wait(self, what, found):
        end = now() + PATIENCE
        while True:
            it = found()
            if it:
                return it
            if now() > end:
                give_up(f"{type(self).__name__}: {what}: not within {PATIENCE:.0f} s")
            for member in self.members:
                if member.process is not None and member.process.poll() not in (None, -signal.SIGKILL):
                    give_up(f"{type(self).__name__}: {member.name} has ended with {member.process.returncode}")
            self.pump(0.1)

    def win(self, member, term, at):
        self.won.setdefault(term, (member, at))

    def alive(self):
        return [member for member in self.members if member.process and member.process.poll() is None]

    def agreed(self, after=0):
        """The term of a leader whom all that live follow, if it is over `after`."""
        said = {member.follows for member in self.alive()}
        if len(said) == 1 and None not in said:
            _, term = said.pop()
            return term if term > after and term in self.won else None
        return None

    def whole(self):
        """The term, when all live and follow one leader."""
        term = self.agreed()
        return term if term and len(self.alive()) == len(self.members) and self.is_healthy() else None


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


class Etcds(Cluster):
    PIPE = "stderr"

    def arguments(self, number, first):
        size = len(self.members)
        url = lambda port: f"http://127.0.0.1:{port}"
        cluster = ",".join(f"{it.name}={url(self.ports[other])}" for other, it in enumerate(self.members))
        name, peer, client = self.members[number].name, url(self.ports[number]), url(self.ports[size + number])
        settings = {
            "name": name, "data-dir": str(self.folder / name),
            "listen-peer-urls": peer, "initial-advertise-peer-urls": peer,
            "listen-client-urls": client, "advertise-client-urls": client,
            "initial-cluster": cluster, "initial-cluster-state": "new", "pre-vote": "true",
            "heartbeat-interval": int(HEARTBEAT * 1000), "election-timeout": int(ELECTION * 1000),
            "logger": "zap", "log-outputs": "stderr",
        }
        return [f"--{key}={value}" for key, value in settings.items()]

    def hear(self, member, line, at):
        try:
            said = json.loads(line).get("msg", "")
        except ValueError:
            return
        if found := re.fullmatch(r"\w+ became leader at term (\d+)", said):
            self.win(member, int(found[1]), at)
        elif found := re.fullmatch(r"raft.node: \w+ (?:elected leader|changed leader from \w+ to) (\w+) at term (\d+)", said):
            member.follows = (found[1], int(found[2]))
        elif "lost leader" in said:
            member.follows = None

    def is_healthy(self):
        def ask():
            for number in range(len(self.members)):
                url = f"http://127.0.0.1:{self.ports[len(self.members) + number]}/health"
                with urllib.request.urlopen(url, timeout=2) as answer:
                    if json.load(answer).get("health") != "true":
                        return False
            return True

        try:
            return self.network.inside(ask)
        except OSError:
            time.sleep(0.05)
            return False


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


def build():
    print("building the example node ..", file=sys.stderr)
    command = ["cargo", "build", "--release", "--example", "node", "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    for line in built.stdout.splitlines():
        it = json.loads(line)
        if it.get("executable") and it["target"]["name"] == "node":
            return it["executable"]
    return give_up("cannot build the example node")


def find_etcd(folder):
    if found := shutil.which("etcd"):
        return found
    print("downloading etcd ..", file=sys.stderr)
    folder.mkdir()
    get = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", "etcd-server"]
    try:
        if subprocess.run(get, cwd=folder, stderr=subprocess.DEVNULL).returncode != 0:
            subprocess.run(["apt-get", "-qq", "update"], check=True)
            subprocess.run(get, cwd=folder, check=True)
        package = next(folder.glob("*.deb"))
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    except (OSError, StopIteration, subprocess.CalledProcessError) as error:
        give_up(f"no etcd in PATH, and its package cannot be had ({error}): install etcd 3.4 or newer, or give --etcd")
    return str(folder / "usr/bin/etcd")


def millis(seconds):
    return f"{1000 * seconds:,.0f}"


def spread(times):
    ordered = sorted(times)
    return [statistics.median(ordered), ordered[int(0.9 * (len(ordered) - 1) + 0.5)], ordered[-1]]


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
    node = options.node or build()
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
