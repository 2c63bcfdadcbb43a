"""A one-machine cluster: start, inspect, repair and stop it; kill its nodes and restart its daemons, for tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from experiments.core import files
from experiments.core.errors import InputError
from experiments.core.leases import exclusive
from slurm.cluster import daemons, pointer
from slurm.cluster.configuration import (
    ACCOUNTING,
    DATABASE,
    LONGEST,
    MOST_NODES,
    Layout,
    Settings,
    free_port,
    is_free,
    node_names,
    own_address,
    write,
)
from slurm.cluster.state import Status, is_healthy

MARK = "EQUILAW_CLUSTER"
"""Environment variable of every daemon, with the cluster's name; steps that daemons start inherit it, jobs do not."""
DAEMON_MARK = "EQUILAW_DAEMON"
"""Environment variable of every daemon, with its own name: for a node's slurmd the node's."""
DATABASES = ("mariadbd", "slurmdbd")
SERVICES = ("munged", *DATABASES, "slurmctld")
"""Daemons beside the nodes', in the order in which they need each other."""
START_SECONDS = 90.0
"""Time limit for a daemon to answer; long, for the machine may be busy."""
STOP_SECONDS = 10.0
JOB_SECONDS = 5.0
"""Time that jobs get after a SIGTERM when the cluster goes down."""


class ClusterError(RuntimeError):
    """A daemon or a command of the cluster failed; the message is one line, with the log if there is one."""


class Cluster:
    """A cluster in a directory; a context manager that starts and stops it.

    Args:
        directory: for all its files; made by `up`.
        settings: of the cluster; None: those it was made with, or the defaults.
    """

    def __init__(self, directory: Path, settings: Settings | None = None) -> None:
        self.directory = directory.expanduser().absolute()
        self._asked = settings
        self._read()
        self.registry = daemons.Registry(self.directory / "daemons.json")

    def _read(self) -> None:
        """Read layout and settings from the directory, which another command may just have made."""
        recorded = _recorded(self.directory)
        self._made = recorded is not None
        self.layout, self.made_as = recorded or (
            Layout(self.directory, 0, f"equilaw-{uuid.uuid4().hex[:8]}"),
            Settings(),
        )
        self.settings = self._asked or self.made_as

    def __enter__(self) -> Cluster:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes."""
        return node_names(self.settings)

    def environment(self) -> dict[str, str]:
        """Return the environment of commands for this cluster: ours, without the variables of a surrounding job."""
        others = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH_", "SQUEUE_", "SACCT_"))}
        return {**others, "SLURM_CONF": str(self.layout.slurm_conf)}

    def run(self, *command: str, seconds: float = 60.0, check: bool = True) -> str:
        """Run one of Slurm's commands (`cluster.run("squeue")`) and return its output.

        Raises:
            ClusterError: it failed, or did not end in time.
        """
        try:
            ended = subprocess.run(
                [daemons.program(command[0]), *command[1:]],
                env=self.environment(), capture_output=True, text=True, timeout=seconds, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ClusterError(f"{' '.join(command)}: no answer in {seconds:g} s") from None
        if check and ended.returncode:
            raise ClusterError(f"{' '.join(command)}: {ended.stderr.strip() or f'exit code {ended.returncode}'}")
        return ended.stdout

    # -- up and down ---------------------------------------------------------------------------------------------

    def up(self) -> list[str]:
        """Start the daemons that are not running, wait until every node is ready, and return the daemons started.

        Raises:
            InputError: packages are missing, the directory cannot be used, or the cluster is up with other settings.
            ClusterError: a daemon does not start.
        """
        self._check()
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._alone():
            self._read()
            address = own_address(self.settings.exposed)
            if self._living() and self.settings != self.made_as:
                asked, current = asdict(self.settings), asdict(self.made_as)
                other = ", ".join(f"{key}={current[key]}" for key in current if current[key] != asked[key])
                raise InputError(f"cluster {self.directory} is up with {other}; accepted: that, or cluster down first")
            if not self._living():  # settings and ports may change while nothing runs
                port = self.layout.port
                if not (self._made and is_free(address, port)):
                    port = free_port(address)
                self.layout = Layout(self.directory, port, self.layout.name)
                write(self.layout, self.settings, address)
                content = {"port": port, "name": self.layout.name, "settings": asdict(self.settings)}
                files.write_json(self.directory / "cluster.json", content)
                self._made, self.made_as = True, self.settings
            started = [name for name in self._daemon_names() if self._start(name, address)]
            if lame := [name for name in self.nodes if name in started or not is_healthy(self.node_states().get(name))]:
                self._update_node(",".join(lame), "resume", check=False)
            if not daemons.wait(self._is_ready, START_SECONDS):
                states = ", ".join(f"{name} {state.lower()}" for name, state in self.node_states().items())
                raise ClusterError(f"after {START_SECONDS:g} s the nodes are {states}; see {self.layout.path('log')}")
        return started

    def down(self) -> bool:
        """Stop its daemons and jobs; return False if none was running.

        At the next `up` pending jobs are still queued, and those that ran start again (as after a node failure).
        """
        pointer.point_no_more_to(self.layout.slurm_conf)
        if not self._made:
            return False
        with self._alone():
            known = self.registry.read()
            ran = any(map(daemons.lives, known.values())) or bool(self._processes())
            daemons.end([known[name] for name in known if name not in SERVICES], STOP_SECONDS)
            if "slurmctld" in self._living():  # it puts the jobs that ran back into the queue, and saves that
                with suppress(ClusterError):
                    self._update_node(",".join(self.nodes), "down", "reason=stopped")
                daemons.end([known["slurmctld"]], STOP_SECONDS)
            daemons.end([running.process for running in self.job_processes()], JOB_SECONDS)
            for name in reversed([name for name in SERVICES if name in known]):
                daemons.end([known[name]], STOP_SECONDS)
            left = [running.process for running in self._processes()]  # Slurm's steps, and of an `up` that was killed
            daemons.end(left, 0.0, signal.SIGKILL)
            for name in known:
                self.registry.forget(name)
        return ran

    def status(self) -> Status:
        """Return the current state of the cluster."""
        if not self._made:
            return Status(self.directory, "absent", (), {}, 0, self.settings.accounting)
        living = self._living()
        dead = tuple(name for name in self._daemon_names() if name not in living)
        if not living:
            return Status(self.directory, "down", dead, {}, 0, self.settings.accounting)
        nodes = self.node_states()
        jobs = len(self.run("squeue", "--noheader", "--array", check=False).splitlines()) if nodes else 0
        lame = not nodes or not all(map(is_healthy, nodes.values()))
        state = "half-dead" if dead or lame else "up"
        return Status(self.directory, state, dead, nodes, jobs, self.settings.accounting)

    def node_states(self) -> dict[str, str]:
        """Return Slurm's state of each node (IDLE, DOWN, …); empty if the controller does not answer."""
        try:
            lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %T", seconds=10.0).splitlines()
        except ClusterError:
            return {}
        return {name: state.upper() for name, state in sorted(line.split() for line in lines)}

    # -- what tests do to it -------------------------------------------------------------------------------------

    def kill_node(self, node: str, *, orphans: bool = False, announce: bool = True) -> None:
        """Kill a node as a breakdown would: send SIGKILL to its daemon and the jobs on it.

        Args:
            node: its name.
            orphans: spare the jobs' own processes, as behind a network that broke: Slurm has no hold on them.
            announce: tell the controller, which would find out by itself after `SlurmdTimeout` and a ping.
        """
        names = ("SLURMD_NODENAME", DAEMON_MARK)
        on_node = [running for running in self._processes() if node in map(running.environment.get, names)]
        slurms = [running.process for running in on_node if not _is_of_a_job(running)]
        jobs = [running.process for running in on_node if _is_of_a_job(running) and not orphans]
        # Slurm's own first: a step that sees its job die reports a failure, which a dead node does not.
        daemons.end([*slurms, *jobs], 0.0, signal.SIGKILL)
        if announce:
            self._update_node(node, "down", "reason=killed")

    def start_node(self, node: str) -> None:
        """Start a killed node again, and wait until it takes jobs."""
        with self._alone():
            self._start(node, own_address(self.settings.exposed))
        self._update_node(node, "resume", check=False)
        if not daemons.wait(lambda: is_healthy(self.node_states().get(node)), START_SECONDS):
            raise ClusterError(f"{node} is {self.node_states().get(node)}; see {self.layout.log(node)}")

    def stop_daemon(self, name: str, number: int = signal.SIGTERM) -> None:
        """End slurmctld, slurmdbd, mariadbd, munged or a node's slurmd (by the node's name); its jobs go on."""
        daemons.end([self.registry.read()[name]], STOP_SECONDS, number)

    def start_daemon(self, name: str) -> None:
        """Start a daemon again, and wait until it answers."""
        with self._alone():
            self._start(name, own_address(self.settings.exposed))

    def restart_daemon(self, name: str, number: int = signal.SIGTERM) -> None:
        """Stop a daemon and start it again."""
        self.stop_daemon(name, number)
        self.start_daemon(name)

    def job_processes(self) -> list[daemons.RunningProcess]:
        """Return the processes of jobs on all nodes, orphans included."""
        return [running for running in self._processes() if _is_of_a_job(running)]

    # -- inside --------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if missing := daemons.missing(self.settings.accounting):
            packages = sorted({daemons.PACKAGES[name] for name in missing})
            raise InputError(
                f"{', '.join(missing)} not installed; accepted: make slurm (Debian packages {' '.join(packages)})"
            )
        if len(str(self.directory)) > LONGEST:
            raise InputError(
                f"{self.directory}: too long a path for the sockets in it; accepted: at most {LONGEST} characters"
            )
        if not 1 <= self.settings.nodes <= MOST_NODES:
            raise InputError(f"nodes={self.settings.nodes}: accepted: 1 to {MOST_NODES}")
        files.creatable(self.directory, "--dir")
        paths = self.directory.iterdir() if self.directory.exists() and not self._made else ()
        if any(not path.name.startswith("lock-") for path in paths):
            raise InputError(f"{self.directory} holds something else; accepted: a directory that is empty or new")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                stack.enter_context(exclusive(self.directory / "lock", patience=3 * START_SECONDS))
            except TimeoutError:
                raise ClusterError(f"{self.directory}: another command has been working on it for minutes") from None
            yield

    def _update_node(self, nodes: str, state: str, *more: str, check: bool = True) -> None:
        """Tell the controller the state of nodes; it refuses to resume nodes that are not down."""
        self.run("scontrol", "update", f"nodename={nodes}", f"state={state}", *more, seconds=15.0, check=check)

    def _daemon_names(self) -> list[str]:
        """Return the daemons in the order in which they need each other; a node's slurmd has the node's name."""
        return [name for name in SERVICES if self.settings.accounting or name not in DATABASES] + self.nodes

    def _living(self) -> list[str]:
        return [name for name, process in self.registry.read().items() if daemons.lives(process)]

    def _start(self, name: str, address: str) -> bool:
        """Start a daemon and wait until it answers; return False if it was running already."""
        if name in self._living():
            return False
        command, answers = self._daemon(name, address)
        marked = [running for running in self._processes() if running.environment.get(DAEMON_MARK) == name]
        if stray := next((running for running in marked if running.program == command[0]), None):
            self.registry.remember(name, stray.process)  # of an `up` that was killed before it wrote this down
            return False
        if name == "munged":
            self.layout.munge_socket.unlink(missing_ok=True)  # of one that was killed
        environment = {**self.environment(), MARK: self.layout.name, DAEMON_MARK: name}
        process = daemons.start(command, self.layout.log(f"{name}-said"), environment)
        self.registry.remember(name, process)
        daemons.wait(lambda: answers() or not daemons.lives(process), START_SECONDS)
        if not daemons.lives(process):
            raise ClusterError(f"{name} ended at once: {self._last_words(name)}")
        if not answers():
            raise ClusterError(f"{name} does not answer after {START_SECONDS:g} s: {self._last_words(name)}")
        return True

    def _daemon(self, name: str, address: str) -> tuple[Sequence[str], Callable[[], bool]]:
        """Return the command of a daemon, and a function that tells whether it answers."""
        layout = self.layout
        if name == "munged":
            parts = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid"}
            parts |= {"log-file": "munged.log", "seed-file": "munged.seed"}
            options = [f"--{option}={layout.path('munge', part)}" for option, part in parts.items()]
            return ["munged", "--foreground", "--force", *options], layout.munge_socket.exists
        if name == "mariadbd":
            return self._database(), lambda: _listens("127.0.0.1", layout.port + DATABASE)
        if name == "slurmdbd":
            return ["slurmdbd", "-D"], lambda: _listens(address, layout.port + ACCOUNTING)
        if name == "slurmctld":
            return ["slurmctld", "-D"], lambda: " is UP" in self.run("scontrol", "ping", check=False)
        return ["slurmd", "-D", "-N", name], lambda: True  # the controller says when it is ready

    def _database(self) -> list[str]:
        """Return the command of MariaDB, after making its tables if there are none."""
        data, socket_path = self.layout.path("db", "data"), self.layout.path("db", "mariadb.socket")
        as_root = ["--user=root"] if os.geteuid() == 0 else []
        if not (data / "mysql").is_dir():
            options = ["--skip-test-db", "--auth-root-authentication-method=normal", *as_root]
            ended = subprocess.run(
                [daemons.program("mariadb-install-db"), "--no-defaults", f"--datadir={data}", *options],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if ended.returncode:
                raise ClusterError(f"mariadb-install-db: {(ended.stderr or ended.stdout).strip().splitlines()[-1]}")
        return [
            "mariadbd", "--no-defaults", *as_root, f"--datadir={data}", f"--socket={socket_path}",
            "--bind-address=127.0.0.1", f"--port={self.layout.port + DATABASE}",
            f"--pid-file={self.layout.path('db', 'mariadb.pid')}", "--skip-grant-tables",
            "--innodb-lock-wait-timeout=900", "--performance-schema=OFF",
        ]  # fmt: skip

    def _last_words(self, name: str) -> str:
        for log in (self.layout.log(name), self.layout.log(f"{name}-said"), self.layout.path("munge", f"{name}.log")):
            try:
                if words := log.read_text(errors="replace").strip().splitlines():
                    return f"{words[-1]} (see {log})"
            except OSError:
                continue
        return f"its logs are empty (see {self.layout.path('log')})"

    def _is_ready(self) -> bool:
        states = self.node_states()
        return all(is_healthy(states.get(name)) for name in self.nodes)

    def _processes(self) -> list[daemons.RunningProcess]:
        """Return all processes of this cluster: daemons and steps by our variable, jobs by Slurm's."""
        name = self.layout.name
        return [
            running
            for running in daemons.running()
            if name in (running.environment.get(MARK), running.environment.get("SLURM_CLUSTER_NAME"))
        ]


def _recorded(directory: Path) -> tuple[Layout, Settings] | None:
    """Return the layout and settings of the cluster in a directory; None if there is none, or its record is damaged."""
    content = files.read_json(directory / "cluster.json")
    try:
        return Layout(directory, int(content["port"]), str(content["name"])), Settings(**content["settings"])
    except (TypeError, KeyError, ValueError):
        return None


def _is_of_a_job(running: daemons.RunningProcess) -> bool:
    """Return whether a process is a job's, not a daemon or a step of Slurm's own."""
    return MARK not in running.environment and "SLURM_JOB_ID" in running.environment


def _listens(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=2.0):
            return True
    except OSError:
        return False
