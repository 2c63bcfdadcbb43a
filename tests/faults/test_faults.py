"""Killed anywhere: after any campaign of kills the table is the undisturbed one, bit for bit, and nothing is left over.

The short forms are part of the ordinary suite; `-m faults` with EQUILAW_KILLS (100 where it is not set) is the
long one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.config.parse import parse
from experiments.core import files
from experiments.core.processes import Process, start_time
from experiments.data.load import load
from experiments.runs.store import Run, RunStore
from tests.faults.checks import assert_clean, assert_same, table_of

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("EQUILAW_KILLS", "100"))
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class Zygote:
    """See zygote.py."""

    def __init__(self, root: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        )  # fmt: skip

    def _ask(self, **request: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def spawn(self, runs: Sequence[Run]) -> int:
        return int(self._ask(spawn=[str(run.path) for run in runs])["pid"])

    def wait(self, pid: int) -> int:
        return int(self._ask(wait=pid)["code"])

    def drive(self, arguments: Sequence[str], log: Path) -> Driver:
        pid = int(self._ask(drive=["-m", *arguments], log=str(log))["pid"])
        return Driver(pid, lambda: self._ask(poll=pid)["code"])


class Driver:
    """A `python -m experiments -m`; `poll` gives its exit code, or None while it runs."""

    def __init__(self, pid: int, poll: Callable[[], int | None]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._poll = poll

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._poll()
        return self.returncode

    def wait(self, seconds: float = 600.0) -> int:
        wait_for(lambda: self.poll() is not None, "the end of a driver", seconds)
        assert self.returncode is not None
        return self.returncode


@pytest.fixture
def zygote(root: Path) -> Iterator[Zygote]:
    made = Zygote(root)
    yield made
    assert made.process.stdin is not None
    made.process.stdin.close()
    made.process.wait()


def campaign(
    zygote: Zygote, make_config: Callable[..., dict[str, Any]], path: Path, kills: int, seed: int, drivers: int = 2
) -> int:
    """Kill one of two drivers, `kills` times; the number of kills that hit a run with a checkpoint comes back."""
    draw = random.Random(seed)
    sha256 = load(parse(make_config()).data).sha256()
    stores = {}
    for name in ("undisturbed", "disturbed"):
        runs = []
        for P, L, run_seed in ((4, 0, 0), (8, 1, 0), (4, 1, 1), (8, 0, 1)):
            changes = {
                "P": P, "L": L, "seed": run_seed, "training.max_steps": 80, "training.precision": "float32",
                "training.checkpoint_seconds": 0.05,
            }  # fmt: skip
            config = parse(make_config(changes))
            run = RunStore(path / name).run(config.run_id(sha256))
            run.create(config.as_dict())
            runs.append(run)
        stores[name] = runs
    assert zygote.wait(zygote.spawn(stores["undisturbed"])) == 0
    runs = stores["disturbed"]
    living = [zygote.spawn(order) for order in (runs, runs[::-1])][:drivers]
    hits = 0
    for n in range(kills):
        if n % 25 == 24:
            print(f"{n + 1} of {kills} kills")
        if all(run.state() == "done" for run in runs):
            # All is trained: begin anew with some run, as if a result had been lost.
            for run in draw.sample(runs, 2):
                result = run.result()
                assert result is not None
                (run.path / "result.json").unlink()
        time.sleep(draw.uniform(0.0, 0.5))
        hits += any(run.path.glob("attempt-*/step-*") for run in runs)
        victim = draw.randrange(len(living))
        os.kill(living[victim], draw.choice(SIGNALS))
        code = zygote.wait(living[victim])
        assert code in (0, -signal.SIGKILL, 128 + signal.SIGTERM, 128 + signal.SIGINT)
        living[victim] = zygote.spawn(draw.sample(runs, len(runs)))
    codes = [zygote.wait(pid) for pid in living]
    assert codes == [0] * drivers
    assert_clean(path / "disturbed", len(runs))
    assert_same(path / "disturbed", path / "undisturbed")
    return hits


def test_kills_at_random_moments(zygote: Zygote, make_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    assert campaign(zygote, make_config, tmp_path, kills=12, seed=1) > 3


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(3))
def test_many_kills_at_random_moments(
    zygote: Zygote, make_config: Callable[..., dict[str, Any]], tmp_path: Path, seed: int
) -> None:
    assert campaign(zygote, make_config, tmp_path, kills=KILLS, seed=100 + seed) > KILLS // 4


# --- whole sweeps


def start(arguments: Sequence[str], log: Path) -> Driver:
    """As a user starts it: a process of its own that imports everything."""
    with open(log, "ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "experiments", "-m", *arguments], cwd=ROOT, stdout=out, stderr=out,
            env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in a shell's background jobs
        )  # fmt: skip
    return Driver(process.pid, process.poll)


def workers_of(driver: int) -> list[Process]:
    """Living children of a driver."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent == driver and (started := start_time(int(entry.name))):
            found.append(Process("", "", int(entry.name), started))
    return found


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def progress(store: Path) -> tuple[int, int]:
    """Results and latest checkpoints: what grows while a sweep works."""
    steps = sorted(store.glob("*/attempt-*/step-*"))
    return len(list(store.glob("*/result.json"))), sum(hash(p.name) for p in steps)


def attempts_of(driver: int, store: Path) -> list[Path]:
    """Attempts whose leases are held by the workers of a driver."""
    workers = [worker.pid for worker in workers_of(driver)]
    found = ((lease.parent, files.read_json(lease)) for lease in store.glob("*/attempt-*/alive.json"))
    return [attempt for attempt, lease in found if isinstance(lease, dict) and lease["pid"] in workers]


Begin = Callable[[Sequence[str], Path], Driver]


def sweep_campaign(
    tiny_arguments: list[str], path: Path, begin: Begin, kills: int, seed: int, pack: int = 1
) -> tuple[Counter[str], Counter[int]]:
    """Two drivers on one store; a random one is killed `kills` times after progress and started again.

    Returns: the signals sent (with how many hit a driver in the middle of a run that has a checkpoint), exit codes.
    """
    draw = random.Random(seed)
    chosen = {
        "P": "4,8", "L": "0,1", "nu": 2, "seed": "0,1", "training.checkpoint_seconds": 0.05,
        "training.max_steps": 100, "training.precision": "float32" if pack == 1 else "float64",
        "hydra.launcher.workers": 1, "hydra.launcher.pack": pack,
    }  # fmt: skip
    sweep = [
        *(a for a in tiny_arguments if a.partition("=")[0] not in chosen),
        *(f"{k}={v}" for k, v in chosen.items()),
    ]
    disturbed, log = path / "disturbed", path / "disturbed.log"
    quiet = begin([*sweep, f"store={path / 'undisturbed'}"], path / "undisturbed.log")
    assert quiet.wait(600) == 0, (path / "undisturbed.log").read_text()

    def again() -> Driver:
        return begin([*sweep, f"store={disturbed}"], log)

    living = [again(), again()]
    sent: Counter[str] = Counter()
    codes: Counter[int] = Counter()
    began = time.monotonic()
    for n in range(kills):
        if all(driver.poll() is not None for driver in living) or len(list(disturbed.glob("*/result.json"))) > 6:
            for run in draw.sample(RunStore(disturbed).runs(), 4):  # begin anew, as if results had been lost
                (run.path / "result.json").unlink(missing_ok=True)
        for place, driver in enumerate(living):
            if driver.poll() is not None:
                codes[driver.wait()] += 1
                living[place] = again()
        before = progress(disturbed)
        working: list[int] = []

        def ready(before: tuple[int, int] = before, working: list[int] = working) -> bool:
            working[:] = [i for i, d in enumerate(living) if attempts_of(d.pid, disturbed)]
            ended = any(d.poll() is not None for d in living)
            return ended or (progress(disturbed) != before and len(working) > 0)

        wait_for(ready, "progress")
        time.sleep(draw.uniform(0, 0.5))
        place = draw.choice(working or [0, 1])
        driver, kill = living[place], SIGNALS[1:][n] if n < 3 else draw.choice(SIGNALS)
        sent[kill.name] += 1
        sent["in the middle of a run"] += any(
            any(attempt.glob("step-*")) for attempt in attempts_of(driver.pid, disturbed)
        )
        workers = workers_of(driver.pid)
        if driver.poll() is None:
            os.kill(driver.pid, kill)
        codes[code := driver.wait(120)] += 1
        assert code in (-signal.SIGKILL, -signal.SIGTERM, 143, 130, 0), log.read_text()
        wait_for(lambda w=workers: not any(p.lives() for p in w), "the end of the workers")  # type: ignore[misc]
        living[place] = again()
        if (n + 1) % 10 == 0:
            done = len(list(disturbed.glob("*/result.json")))
            print(
                f"{n + 1}/{kills} kills after {time.monotonic() - began:.0f} s, {done} of 8 runs done, {dict(sent)}",
                flush=True,
            )
    assert [driver.wait(600) for driver in living] == [0, 0], log.read_text()
    assert again().wait(600) == 0  # nothing is missing now: it only settles
    assert_clean(disturbed, 8)
    assert_clean(path / "undisturbed", 8)
    assert not any(workers_of(driver.pid) for driver in (*living, quiet))
    return sent, codes


def assert_equal_tables(path: Path, **tolerances: Any) -> None:
    pd.testing.assert_frame_equal(table_of(path / "disturbed"), table_of(path / "undisturbed"), **tolerances)


def test_a_sweep_is_killed_and_two_drivers_finish_it(tiny_arguments: list[str], tmp_path: Path, zygote: Zygote) -> None:
    sent, codes = sweep_campaign(tiny_arguments, tmp_path, zygote.drive, kills=4, seed=0)
    for kill, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)):
        assert codes[code] == sent[kill.name] > 0
    assert_equal_tables(tmp_path, check_exact=True)


@pytest.mark.faults
@pytest.mark.parametrize(("share", "pack", "forked"), [(1.0, 1, True), (0.3, 4, True), (0.1, 1, False)])
def test_a_sweep_is_killed_many_times(
    tiny_arguments: list[str], tmp_path: Path, zygote: Zygote, capsys: pytest.CaptureFixture[str],
    share: float, pack: int, forked: bool,
) -> None:  # fmt: skip
    begin, kills = (zygote.drive if forked else start), max(3, int(share * KILLS))
    with capsys.disabled():
        sent, codes = sweep_campaign(tiny_arguments, tmp_path, begin, kills, seed=pack, pack=pack)
        print(f"\npacks of {pack}: signals {dict(sent)}, exit codes of drivers {dict(codes)}", flush=True)
    # Which runs share a pack depends on the kills, and sums in batched products on their number: round-off of
    # float64, 1e-16, which 100 updates of SOAP amplify.
    assert_equal_tables(tmp_path, **({"check_exact": True} if pack == 1 else {"rtol": 1e-6}))
    assert sent["in the middle of a run"] > kills // 10
