"""Clusters of processes on this machine: started, heard, killed, and gone at the end. What compare.py and kv.py share."""

import ctypes
import fcntl
import json
import os
import re
import selectors
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEARTBEAT, ELECTION = 0.1, 1.0
PATIENCE = 60.0
NEW_NETWORK = 0x40000000  # CLONE_NEWNET
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
libc = ctypes.CDLL(None, use_errno=True)
now = time.monotonic


def give_up(why):
    sys.exit(f"{Path(sys.argv[0]).name}: {why}")


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


def build(name, *what, folder=ROOT):
    """The program of that name: an example of this crate's, or of the workspace in that folder."""
    print(f"building {name} ..", file=sys.stderr)
    command = ["cargo", "build", "--release", *what, "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    for line in built.stdout.splitlines():
        it = json.loads(line)
        if it.get("executable") and it["target"]["name"] == name:
            return it["executable"]
    return give_up(f"cannot build {name}")


def build_example(name):
    return build(name, "--example", name)


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
