"""Damaged files, full and read-only disks, clocks that jump: one clear line, an older checkpoint, nothing lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.config.parse import parse
from experiments.core import files
from experiments.core.processes import Process, start_time
from experiments.data.load import load
from experiments.runs.execute import execute
from experiments.runs.store import Run, RunStore, read_history
from experiments.training import checkpoint
from experiments.training.pack import Interrupted

ROOT = Path(__file__).resolve().parents[2]
MakeConfig = Callable[..., dict[str, Any]]


@pytest.fixture
def make_run(make_config: MakeConfig, tmp_path: Path) -> Callable[..., Run]:
    """A tiny run in `store` that writes a checkpoint after every chunk."""

    def make(store: str = "store", **changes: Any) -> Run:
        changed = {"training.checkpoint_seconds": 1e-6, "store": str(tmp_path / store), **changes}
        config = parse(make_config(changed))
        run = RunStore(config.store).run(config.run_id(load(config.data).sha256()))
        run.create(config.as_dict())
        return run

    return make


class After:
    """Asks to stop after so many chunks; does something before."""

    def __init__(self, chunks: int, act: Callable[[], None] = lambda: None) -> None:
        self.chunks = chunks
        self.act = act

    def __call__(self) -> bool:
        self.chunks -= 1
        if self.chunks == 0:
            self.act()
        return self.chunks <= 0


def never() -> bool:
    return False


def compute(run: Run, stop: Callable[[], bool] = never) -> str:
    return execute([run], stop, lambda event: None)[run.id]


def interrupt(run: Run, chunks: int = 6) -> list[Path]:
    """Compute so many chunks; the checkpoints that are left, latest last."""
    with pytest.raises(Interrupted):
        compute(run, After(chunks))
    return sorted(run.path.glob("attempt-*/step-*.safetensors"), key=lambda path: path.name)


@pytest.fixture
def truth(make_run: Callable[..., Run]) -> dict[str, Any]:
    """Metrics of the undisturbed run."""
    run = make_run("truth")
    assert compute(run) == "done"
    return metrics(run)


def metrics(run: Run) -> dict[str, Any]:
    result = run.result()
    assert result is not None
    return dict(result["by_metric"])


def assert_finished(run: Run, truth: dict[str, Any]) -> None:
    """Done, with the undisturbed run's numbers to the last bit, and tidy."""
    assert run.state() == "done"
    assert metrics(run) == truth
    assert not list(run.path.rglob("step-*"))
    assert not list(run.path.rglob(f"{files.TEMPORARY}*"))
    assert not list(run.path.rglob("alive.json"))


# --- damaged files


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_checkpoint_cut_in_half(
    make_run: Callable[..., Run], truth: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The one before it is used: only what lies between them is computed again."""
    run = make_run()
    older, latest = interrupt(run)
    clock = checkpoint.load(older)
    assert clock is not None
    halve(latest)
    seen: list[int] = []
    execute([run], never, lambda event: seen.append(event["clock"]) if event["event"] == "progress" else None)
    assert f"checkpoint {latest.name} is damaged" in caplog.text
    assert seen[0] > int(clock.facts["clock"])
    assert_finished(run, truth)


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00\xff{ not what was here")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def directory(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "mine").write_text("somebody's")


@pytest.mark.parametrize("damage", [garbage, empty, directory])
@pytest.mark.parametrize("name", ["state.json", "attempt-1/alive.json", "attempt-1/history.jsonl"])
def test_a_damaged_file(
    make_run: Callable[..., Run], truth: dict[str, Any], name: str, damage: Callable[[Path], None]
) -> None:
    run = make_run()
    interrupt(run)
    damage(run.path / name)
    assert run.state() in ("queued", "interrupted")
    assert compute(run) == "done"
    assert run.recorded_state()["state"] == "done"
    assert metrics(run) == truth
    if damage is directory and name == "state.json":  # nothing that somebody put there is deleted
        assert [p.read_text() for p in run.path.glob("damaged-*/mine")] == ["somebody's"]


def test_a_history_cut_in_the_middle(make_run: Callable[..., Run], truth: dict[str, Any]) -> None:
    """The history of a run comes from its checkpoint, and the file is only for whoever watches."""
    run = make_run()
    interrupt(run)
    halve(run.path / "attempt-1" / "history.jsonl")
    assert compute(run) == "done"
    clocks = [record["clock"] for record in read_history(run.path / "attempt-2" / "history.jsonl")]
    assert clocks == sorted(set(clocks))
    assert_finished(run, truth)


@pytest.mark.parametrize("damage", [garbage, empty, directory])
def test_a_damaged_configuration(
    make_run: Callable[..., Run], make_config: MakeConfig, truth: dict[str, Any], damage: Callable[[Path], None]
) -> None:
    """One line says so; who knows what the run was asks for it again, and it goes on from its checkpoint."""
    run, other = make_run(), make_run(seed=1)
    config = run.config()
    interrupt(run)
    damage(run.path / "config.yaml")
    assert execute([run, other], never, lambda event: None) == {run.id: "failed", other.id: "done"}
    message = run.recorded_state()["message"]
    assert message == f"{run.path}/config.yaml is damaged; delete the directory and start the run again"
    run.repair(config)
    assert compute(run) == "done"
    assert_finished(run, truth)


def test_a_diverged_run_starts_afresh(make_run: Callable[..., Run], truth: dict[str, Any]) -> None:
    """Its checkpoint leads to the same end: neither that one nor those before it are used again."""
    run = make_run()
    for path in interrupt(run):
        found = checkpoint.load(path)
        assert found is not None
        found.tensors["params"] = torch.full_like(found.tensors["params"], torch.nan)
        checkpoint.save(path, found)
    assert compute(run) == "failed"
    assert "not finite" in run.recorded_state()["message"]
    assert compute(run) == "done"
    assert_finished(run, truth)


# --- disks


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """The system refuses to let any file of this process grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_in_the_middle_of_a_checkpoint(make_run: Callable[..., Run], truth: dict[str, Any]) -> None:
    """The run is not failed; its older checkpoint is whole, and it goes on from there."""
    run = make_run()
    before = interrupt(run)
    size = before[-1].stat().st_size
    with files_up_to(size // 2), pytest.raises(OSError, match="File too large") as error:
        compute(run)
    assert error.value.filename.endswith(".safetensors")
    assert run.state() == "interrupted"
    assert sorted(run.path.rglob("step-*"), key=lambda path: path.name) == before
    assert not list(run.path.rglob(f"{files.TEMPORARY}*"))
    assert compute(run) == "done"
    assert_finished(run, truth)


def in_own_mounts(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a shell script where it may mount what nobody else sees; the test is skipped where that is not allowed."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-Urm", "true"], capture_output=True).returncode:
        pytest.skip("this machine lets no user mount a file system of his own (unshare -Urm)")
    command = [unshare, "-Urm", "bash", "-c", f"set -u; {script}", "script", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHON": sys.executable},
    )  # fmt: skip


def test_a_disk_that_is_full_during_a_sweep(tiny_arguments: list[str], tmp_path: Path) -> None:
    """One line and exit code 1; with room again the same command continues, and no run was failed meanwhile."""
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    sweep = [*tiny_arguments, "P=4,8", "L=1", "nu=2", "seed=0", "hydra.launcher.workers=1", f"store={disk}/store"]
    sweep = [a for a in sweep if not a.startswith("training.checkpoint_seconds")]
    ended = in_own_mounts(
        'disk=$1; kept=$2; shift 2; mount -t tmpfs -o size=96k tmpfs "$disk"\n'
        '"$PYTHON" -m experiments -m training.checkpoint_seconds=0.001 "$@" >&2; echo "exit $?"\n'
        'cp -r "$disk/store" "$kept-full"; mount -o remount,size=64m "$disk"\n'
        '"$PYTHON" -m experiments -m training.checkpoint_seconds=60 "$@" >&2; echo "exit $?"\n'
        'cp -r "$disk/store" "$kept"',
        disk, kept, *sweep,
    )  # fmt: skip
    assert ended.stdout.splitlines() == ["exit 1", "exit 0"], ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.startswith("equilaw: ")]
    assert len(lines) == 1, ended.stderr
    assert lines[0].endswith(": No space left on device; nothing is lost, the same command continues")
    assert "Traceback" not in ended.stderr
    assert "failed" not in [run.state() for run in RunStore(f"{kept}-full").runs()]
    runs = RunStore(kept).runs()
    assert [run.state() for run in runs] == ["done", "done"]
    assert not list(kept.rglob(f"{files.TEMPORARY}*"))


@pytest.mark.parametrize("check", ["creatable", "writable"])
def test_a_read_only_store(tmp_path: Path, check: str) -> None:
    """One line, both before the data are made and before anything starts; the command exits with code 2 for it."""
    (tmp_path / "store").mkdir()
    ended = in_own_mounts(
        'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && "$PYTHON" -c "$2" "$1"',
        tmp_path / "store",
        "import sys; from pathlib import Path; from experiments.core import errors, files\n"
        f"try: files.{check}(Path(sys.argv[1]), 'store')\n"
        "except errors.InputError as error: print(error)",
    )
    (line,) = ended.stdout.splitlines()
    assert line.startswith(f"store={tmp_path}/store: ")
    assert line.endswith("; accepted: a directory that can be written to")


# --- clocks


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
def test_a_clock_that_jumps_while_a_run_is_computed(
    make_run: Callable[..., Run], truth: dict[str, Any], monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """By a day, in the middle of a run: nobody else can take it meanwhile, and its numbers stay."""
    run = make_run()
    real, answers = time.time, []

    def leap() -> None:
        monkeypatch.setattr(time, "time", lambda: real() + jump)
        lease = run.path / "attempt-1" / "alive.json"
        stamp = real() - jump  # as the new clock sees a lease written before it was set
        os.utime(lease, (stamp, stamp))
        answers.append((run.state(), run.claim()))

    stop = After(4, leap)
    assert execute([run], lambda: bool(stop()) and False, lambda event: None) == {run.id: "done"}
    assert answers == [("running", None)]
    assert_finished(run, truth)


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
def test_a_clock_that_jumped_does_not_keep_a_dead_processs_run(
    make_run: Callable[..., Run], truth: dict[str, Any], jump: float
) -> None:
    run = make_run()
    interrupt(run)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    me = Process.this()
    dead = Process(me.host, me.boot, child.pid, start_time(child.pid))
    assert dead.lives()
    child.kill()
    child.wait()
    lease = run.path / "attempt-1" / "alive.json"
    lease.write_text(json.dumps(vars(dead)))
    stamp = time.time() + jump
    os.utime(lease, (stamp, stamp))
    assert compute(run) == "done"
    assert_finished(run, truth)
