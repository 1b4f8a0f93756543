"""A sweep on two Ray nodes against one, on this machine: the same bits, the speed-up, and what a killed worker costs.

    pip install 'ray>=2.9'
    python benchmarks/ray_nodes.py --json docs/results/ray-nodes.json

Starts a head and a second node (`ray start`, one CPU each) on a free port, and ends both, with all that they started,
by process id. The sweep: mismatch on the convolutional network of `sweep_speed`. Four times: in this process; on one
node; on two; on two, while one worker is killed after the first block of chips; and on two, of which one node is
killed. All studies must hold the same decisions, bit for bit. Times are of sweeps whose workers have started and
compiled. Exit status 1 where anything differs or is missing.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import provenance, write_json
from numpy.typing import NDArray
from sweep_speed import conv_network

from neurodeploy.hw_models import chip as find_chip
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.simulate.engine import run_chips
from neurodeploy.sweep.executor import Executor, Serial, make_executor
from neurodeploy.sweep.plan import Point
from neurodeploy.sweep.run import CHIPS_AT_ONCE, Samples, Study, measure
from neurodeploy.sweep.store import Store

PATIENCE = 120.0  # seconds, for a node to come up or to end
MISMATCH, WARMING = Point(NoiseModel(mismatch=0.2)), Point(NoiseModel(mismatch=0.1))

Progress = Callable[[str, int, int], None]
Decisions = NDArray[np.bool_]


class Node:
    """A `ray start --block` of ours."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=1", "--block", *arguments]
        self.process = subprocess.Popen(
            [*command, "--disable-usage-stats"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def running(self) -> list[tuple[int, str]]:
        """(process id, command) of all that this node started."""
        return descendants(self.process.pid)

    def kill(self) -> None:
        """At once, as a machine that loses its power."""
        for pid in [self.process.pid, *(pid for pid, _ in self.running())]:
            _signal(pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """Politely, and whatever is left of it after that by id."""
        started = [pid for pid, _ in self.running()]
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in started:
            _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has ended by itself


def descendants(pid: int) -> list[tuple[int, str]]:
    """(process id, command line) of the processes below one, from /proc."""
    parents: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = (folder / "stat").read_text()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
            parents[int(folder.name)] = int(status.rpartition(")")[2].split()[1]), command.strip()
    found, above = [], {pid}
    while above:
        below = {child for child, (parent, _) in parents.items() if parent in above}
        found += [(child, parents[child][1]) for child in sorted(below)]
        above = below
    return found


@contextmanager
def cluster() -> Iterator[tuple[str, Callable[[], Node]]]:
    """A head node: its address, and what adds a node. Both end with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        head = ["--head", f"--port={port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false"]
        nodes = [Node(*head, f"--temp-dir={folder}")]

        def add() -> Node:
            nodes.append(Node(f"--address={address}", "--node-ip-address=127.0.0.1"))
            return nodes[-1]

        try:
            yield address, add
        finally:
            for node in reversed(nodes):
                node.end()


def wait_for(address: str, cpus: int) -> None:
    """Until the cluster has so many CPUs.

    Raises:
        TimeoutError: where it does not come up.
    """
    import ray  # type: ignore[import-not-found, unused-ignore]

    code = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR'); "
    code += "print(int(ray.cluster_resources().get('CPU', 0)))"
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        done = subprocess.run([sys.executable, "-c", code, address], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.split()[-1:] == [str(cpus)]:
            return
        time.sleep(1)
    raise TimeoutError(f"Ray {ray.__version__} at {address}: {cpus} CPUs did not come up within {PATIENCE:.0f} s")


def swept(study: Study, executor: Executor, warm: int, progress: Progress) -> tuple[float, Decisions]:
    """Seconds and decisions (chips, samples) of the sweep, after `warm` blocks of other chips."""
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "study.sqlite") as store:
        measure(study, {WARMING: warm * CHIPS_AT_ONCE}, store, False, ignore, executor)
        started = time.perf_counter()
        cells = measure(study, {MISMATCH: study.chips}, store, False, progress, executor)
        seconds = time.perf_counter() - started
        rows = store.correct(cells[MISMATCH].key)
        return seconds, np.stack([rows[chip] for chip in sorted(rows)])


def ignore(what: str, done: int, of: int) -> None:
    """Progress that nobody watches."""


class Killer:
    """Progress that kills once, after the first block of chips."""

    def __init__(self, kill: Callable[[], str]) -> None:
        self._kill, self.killed = kill, ""

    def __call__(self, what: str, done: int, of: int) -> None:
        if not self.killed and done < of:
            self.killed = self._kill()


def kill_worker(node: Node) -> str:
    """Kills a worker of a node that computes; says which."""
    busy = [(pid, command) for pid, command in node.running() if command.startswith("ray::_compute")]
    if not busy:
        return ""
    os.kill(busy[0][0], signal.SIGKILL)
    return busy[0][1]


def kill_node(node: Node) -> str:
    """Kills a node with all its processes."""
    node.kill()
    return "the second node"


def main() -> None:
    """Measures, prints, writes; exit 1 where a sweep lost anything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, default=800)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--json", type=Path, help="file to write")
    options = parser.parse_args()
    import ray  # type: ignore[import-not-found, unused-ignore]

    torch.set_num_threads(1)
    program, images = conv_network()
    images = images[: options.samples]
    nominal = run_chips([program], images).decisions[
        0
    ]  # as labels: a chip is right where it decides as the nominal one
    study = Study(program, find_chip(program.chip), Samples(images, nominal), None, None, options.chips, 0)
    load = os.getloadavg()[0]
    seconds, killed, same = {}, {}, {}
    seconds["this process"], expected = swept(study, Serial(), 1, ignore)

    def on(address: str, nodes: int, name: str, kill: Callable[[], str] | None = None) -> None:
        progress = ignore if kill is None else Killer(kill)
        with make_executor([study], ray=address) as executor:
            seconds[name], found = swept(study, executor, nodes, progress)
        same[name] = bool(found.shape == expected.shape and (found == expected).all())
        if isinstance(progress, Killer):
            killed[name] = progress.killed
        print(f"{name}: {seconds[name]:.1f} s, the same bits: {same[name]}, killed: {killed.get(name)}", flush=True)

    with cluster() as (address, add):
        wait_for(address, 1)
        on(address, 1, "one node")
        second = add()
        wait_for(address, 2)
        on(address, 2, "two nodes")
        on(address, 2, "two nodes, a worker killed", lambda: kill_worker(second))
        on(address, 2, "two nodes, one of them killed", lambda: kill_node(second))
    content: dict[str, Any] = {
        "provenance": provenance(),
        "ray": ray.__version__,
        "chips": options.chips,
        "samples": options.samples,
        "cpus_per_node": 1,
        "cores": os.cpu_count(),
        "load_average_before": load,
        "decisions_as_nominal": float(expected.mean()),
        "seconds": seconds,
        "two_nodes_over_one": seconds["one node"] / seconds["two nodes"],
        "same_bits": same,
        "killed": killed,
    }
    print(f"speed-up of two nodes over one: {content['two_nodes_over_one']:.2f}")
    if options.json is not None:
        write_json(options.json, content)
    if not all(same.values()) or not all(killed.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
