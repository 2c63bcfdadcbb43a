"""Wall and CPU time to a given force error: our training and mace-torch's own script, on the same frames.

    python -m benchmarks.time_to_error --train train.xyz --test test.xyz --out FILE.json

Both are started like a user's commands, one after the other, and timed from the start of their process. Neither sees
the test frames before its end; our run ends with an evaluation on them, which counts.

- mace-torch: `mace_run_train` with the settings that its README recommends (MACE, EMA 0.99, AMSGrad, second stage in
  the last fifth of the epochs) and batches of 5, as its authors' for revised MD17; 5 of P = 100 frames are its
  validation set, since P counts all labels. Every few epochs it writes a checkpoint, whose time is recorded;
  afterwards all checkpoints are tested.
- ours: one run for every budget of updates, with the default settings, timed until its result: start, compilation,
  the second schedule that diagnoses convergence, and tests included.

The time to an error is that of the first checkpoint, or of the shortest run, at or below it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.turns import ROOT, THREADS, own_python, peer_python
from experiments.core import command, files
from experiments.core.errors import InputError
from experiments.data.dataset import Dataset
from experiments.data.load import load
from experiments.data.sources.extxyz import write_frames
from experiments.data.splits import subset

TICK = os.sysconf("SC_CLK_TCK")


def watch(
    command: Sequence[str], folder: Path, outputs: Callable[[], Sequence[Path]]
) -> dict[str, tuple[float, float]]:
    """Run a command in `folder` and return when each of its `outputs()` appeared: seconds of wall and CPU time.

    Raises:
        InputError: the command failed; the message has its last line.
    """
    environment = {**os.environ, **dict.fromkeys(THREADS, "1"), "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    first_seen: dict[str, tuple[float, float]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.txt").open("w") as log:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            ended, cpu = False, 0.0
            while not ended:
                cpu = max(cpu, cpu_seconds(process.pid))
                ended = process.poll() is not None
                now = time.monotonic() - began
                for path in outputs():
                    first_seen.setdefault(path.name, (now, cpu))
                if not ended:
                    time.sleep(0.05)
        finally:
            process.kill()  # if this ends before it
            process.wait()
    if process.returncode != 0:
        lines = (folder / "output.txt").read_text().strip().splitlines() or ["no message"]
        raise InputError(f"{Path(command[0]).name}: exit code {process.returncode}: {lines[-1]}")
    return first_seen


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process and of its ended children, s; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(fields[i]) for i in (11, 12, 13, 14)) / TICK


def prepare_files(
    train: Path, test: Path, P: int, seed: int, tested: int, folder: Path
) -> tuple[Dataset, dict[str, str]]:
    """Write the files of both sides to `folder`; return the dataset, and paths by name.

    `pool` (of which our run draws its subset), `train` (that subset, for mace-torch) and `test` (`tested` frames).
    """
    dataset = load({"source": "extxyz", "train": str(train), "test": str(test)})
    folder.mkdir(parents=True, exist_ok=True)
    chosen = dataset.pool.take(subset(len(dataset.pool), P, seed, dataset.disjoint_seeds))
    names = {name: str((folder / f"{name}.xyz").resolve()) for name in ("train", "test")}
    write_frames(names["train"], chosen)
    write_frames(names["test"], dataset.test.take(slice(0, tested)))
    return dataset, {**names, "pool": str(train.resolve())}


def ours(names: Mapping[str, str], args: argparse.Namespace, folder: Path) -> list[dict[str, float]]:
    """Train one run for each budget; return its seconds and test error."""
    out = []
    for budget in args.budgets:
        store = (folder / f"ours-{budget}").resolve()
        command = [
            str(own_python()), "-m", "experiments", f"P={args.P}", f"L={args.L}", f"nu={args.nu}", f"seed={args.seed}",
            "data=extxyz", f"data.train={names['pool']}", f"data.test={names['test']}", f"store={store}",
            f"model.channels={args.channels}", f"training.max_steps={budget}", *args.keys,
        ]  # fmt: skip
        command = ["env", f"PYTHONPATH={ROOT}", *command]
        first_seen = watch(command, folder / f"ours-{budget}-log", lambda s=store: list(s.glob("*/result.json")))  # type: ignore[misc]
        (result,) = (json.loads(path.read_text()) for path in store.glob("*/result.json"))
        wall, cpu = first_seen["result.json"]
        error = 1e3 * result["metrics"]["force_mae"]
        out.append({"updates": budget, "wall_s": wall, "cpu_s": cpu, "force_mae_mev": error})
        print(f"ours, {budget} updates: {wall:.0f} s, {error:.2f} meV/Å", flush=True)
    return out


def mace_torch(names: Mapping[str, str], args: argparse.Namespace, folder: Path) -> list[dict[str, float]]:
    """Train mace-torch once; return seconds and test error of every checkpoint, in order of time.

    Raises `InputError` if it is not installed or fails.
    """
    python = peer_python("mace")
    if python is None:
        raise InputError("mace-torch is not installed; `make peers` installs it")
    hidden = " + ".join(f"{args.channels}x{degree}{'eo'[degree % 2]}" for degree in range(args.L + 1))
    work = (folder / "mace").resolve()
    command = [
        str(python.with_name("mace_run_train")), "--name=peer", f"--seed={args.seed}", f"--work_dir={work}",
        f"--train_file={names['train']}", "--valid_fraction=0.05", f"--test_file={names['test']}", "--E0s=average",
        "--energy_key=energy", "--forces_key=forces", "--model=MACE", f"--hidden_irreps={hidden}",
        f"--correlation={args.nu}", "--r_max=5.0", f"--batch_size={args.batch}", f"--max_num_epochs={args.epochs}",
        "--stage_two", f"--start_stage_two={round(0.8 * args.epochs)}", "--ema", "--ema_decay=0.99", "--amsgrad",
        "--device=cpu", f"--default_dtype={args.dtype}", f"--eval_interval={args.every}", "--save_all_checkpoints",
        "--keep_checkpoints", "--plot=False",
    ]  # fmt: skip
    first_seen = watch(command, work, lambda: sorted((work / "checkpoints").glob("*epoch-*.pt")))
    model = work / "checkpoints" / f"peer_run-{args.seed}.model"
    evaluation = subprocess.run(
        [str(python), "-m", "benchmarks.errors_mace", str(model), names["test"], *sorted(first_seen)],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
    )  # fmt: skip
    if evaluation.returncode != 0:
        raise InputError(f"testing mace-torch's checkpoints failed: {evaluation.stderr.strip().splitlines()[-1]}")
    errors = json.loads(evaluation.stdout.strip().splitlines()[-1])
    out = [
        {"wall_s": wall, "cpu_s": cpu, "force_mae_mev": 1e3 * errors[name]} for name, (wall, cpu) in first_seen.items()
    ]
    out.sort(key=lambda point: point["wall_s"])
    print(f"mace-torch: {len(out)} checkpoints, {out[-1]['wall_s']:.0f} s, {out[-1]['force_mae_mev']:.2f} meV/Å")
    return out


def first_below(points: Sequence[Mapping[str, float]], level: float, key: str) -> float | None:
    """Return the smallest `key` of a point whose error is at or below `level` (meV/Å); None if there is none."""
    reached = [point[key] for point in points if point["force_mae_mev"] <= level]
    return min(reached) if reached else None


def main() -> int:
    """Compare both on the files of the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.time_to_error", description="Time to an error.")
    parser.add_argument("--train", type=Path, required=True, help="frames to train on (extended XYZ, eV, eV/Å)")
    parser.add_argument("--test", type=Path, required=True, help="frames to test on")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write; its runs are kept beside it")
    parser.add_argument("--P", type=int, default=100)
    parser.add_argument("--L", type=int, default=1)
    parser.add_argument("--nu", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--tested", type=int, default=200, help="number of test frames to use")
    parser.add_argument(
        "--budgets", nargs="*", type=int, default=[500, 1000, 2000, 4000, 8000], help="our budgets, in updates"
    )
    parser.add_argument("--keys", nargs="*", default=[], metavar="KEY=VALUE", help="further settings of our runs")
    parser.add_argument("--epochs", type=int, default=1500, help="mace-torch's epochs (default: as in its README)")
    parser.add_argument("--every", type=int, default=10, help="epochs between mace-torch's checkpoints")
    parser.add_argument("--batch", type=int, default=5, help="mace-torch's batch size")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"), help="mace-torch's precision")
    parser.add_argument("--levels", nargs="+", type=float, default=[60, 40, 30, 20, 15], help="errors in meV/Å")
    return command.run(_compare, parser.parse_args())


def _compare(args: argparse.Namespace) -> None:
    folder = args.out.with_suffix("")
    if folder.exists():
        raise InputError(f"{folder}: holds runs already; accepted: another --out")
    _, names = prepare_files(args.train, args.test, args.P, args.seed, args.tested, folder)
    points = {"ours": ours(names, args, folder), "mace-torch": mace_torch(names, args, folder)}
    levels = []
    for level in args.levels:
        times = {
            f"{side}_{key}": first_below(checkpoints, level, key)
            for side, checkpoints in points.items()
            for key in ("wall_s", "cpu_s")
        }
        levels.append({"force_mae_mev": level, **times})
        wall = [times[f"{side}_wall_s"] for side in points]
        words = [f"{seconds:.0f} s" if seconds is not None else "not reached" for seconds in wall]
        ratio = f"{wall[1] / wall[0]:.1f}x" if wall[0] is not None and wall[1] is not None else ""
        print(f"{level:6.1f} meV/Å: ours {words[0]}, mace-torch {words[1]} {ratio}")
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    files.write_json(args.out, {"settings": settings, "points": points, "levels": levels})


if __name__ == "__main__":
    sys.exit(main())
