"""The bookkeeping of the time to an error: when files appeared, and which is the first below a level."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.time_to_error import first_below, prepare_files, watch
from experiments.core.errors import InputError
from experiments.data.sources.extxyz import read_frames, write_frames
from tests.experiments.finished import molecules

POINTS = [{"wall_s": 10.0, "force_mae_mev": 40.0}, {"wall_s": 30.0, "force_mae_mev": 20.0}]


@pytest.mark.parametrize(("level", "seconds"), [(50.0, 10.0), (40.0, 10.0), (20.0, 30.0), (19.0, None)])
def test_the_first_point_below_a_level(level: float, seconds: float | None) -> None:
    assert first_below(POINTS, level, "wall_s") == seconds


def test_files_are_timed_as_they_appear(tmp_path: Path) -> None:
    make = "time.sleep(0.5); pathlib.Path('{}.pt').touch()"
    work = "\n".join(["import time, pathlib", make.format("a"), make.format("b"), "time.sleep(1)"])
    seen = watch([sys.executable, "-c", work], tmp_path, lambda: sorted(tmp_path.glob("*.pt")))
    assert list(seen) == ["a.pt", "b.pt"]
    assert seen["a.pt"][0] >= 0.5  # sleeping takes no less, however busy the machine is
    assert seen["b.pt"][0] >= 1.0
    assert 0 <= seen["b.pt"][1] < seen["b.pt"][0]
    with pytest.raises(InputError, match="exit code 3: no frames"):
        watch([sys.executable, "-c", "print('no frames'); raise SystemExit(3)"], tmp_path, list)


def test_both_sides_get_the_same_frames(tmp_path: Path) -> None:
    for name, seed in (("train", 0), ("test", 1)):
        write_frames(tmp_path / f"{name}.xyz", molecules(20, seed=seed))
    dataset, names = prepare_files(tmp_path / "train.xyz", tmp_path / "test.xyz", 10, 0, 7, tmp_path / "work")
    chosen, tested = (read_frames(names[name], "energy", "forces", option="") for name in ("train", "test"))
    assert len(chosen) == 10
    assert len(tested) == 7
    pool = {position.tobytes() for position in dataset.pool.positions}
    assert len({position.tobytes() for position in chosen.positions} & pool) == 10
