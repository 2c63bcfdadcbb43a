"""``python -m experiments.evaluate RUN [data=NAME data.KEY=VALUE …]``: a finished run's errors on other test frames.

They go to ``<RUN>/evaluations/<test set>-<digest of the frames>.json`` and ``….frame_errors.parquet``; the run's own
result stays as it is.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments import files
from experiments.data import load
from experiments.data.ase_db import AseDbConfig, atoms_of_db
from experiments.data.dataset import Frames
from experiments.data.extxyz import ExtxyzConfig, atoms_of_file, frames_of
from experiments.errors import InputError, one_line
from experiments.runs import Run

CONF = Path(__file__).resolve().parent.parent / "conf"


def section_of(run: Run, overrides: Sequence[str]) -> dict[str, Any]:
    """The section ``data`` to evaluate on: a named one from ``conf/data``, or the run's own, with changed keys.

    Raises:
        InputError: other overrides than those of data; an unknown dataset or key.
    """
    for word in overrides:
        if not word.startswith(("data=", "data.")):
            raise InputError(f"{word}: accepted: data=NAME and data.KEY=VALUE")
    try:
        if any(word.startswith("data=") for word in overrides):
            with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
                composed = compose("config", list(overrides)).data
        else:
            if run.converted() is not None:
                raise InputError(
                    f"{run.path}: a converted network has no data of its own; accepted: data=NAME beside it"
                )
            composed = OmegaConf.create(run.config()["data"])
            for override in OverridesParser.create().parse_overrides(list(overrides)):
                OmegaConf.update(composed, override.key_or_group.removeprefix("data."), override.value())
        section = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(one_line(error)) from None
    assert isinstance(section, dict)
    for key in ("subset", "subset_seed"):  # say what trains
        section.pop(key, None)
    if section.get("source") in ("extxyz", "ase_db") and section.get("train") == "???":
        section["train"] = ""  # not read
    return {str(key): value for key, value in section.items()}


def test_frames(section: Mapping[str, Any]) -> tuple[str, Frames]:
    """Name and frames of the section's test set; of files only that of the test frames is read."""
    settings = load.parse(section)
    if isinstance(settings, ExtxyzConfig):
        rows = atoms_of_db if isinstance(settings, AseDbConfig) else atoms_of_file
        frames = frames_of(rows(settings.test, "data.test"), settings.energy_key, settings.forces_key)
        return Path(settings.test).stem, frames
    dataset = load.load(section)
    return dataset.test_set, dataset.test


def evaluate(run: Run, section: Mapping[str, Any], device: str = "cpu") -> tuple[dict[str, Any], Path]:
    """Errors (eV, eV/Å) of the run on the section's test frames, and the file that they were written to.

    Raises:
        InputError: a run that is not done, data that can't be read or hold elements that the model never saw, labels
            that it can't be compared with, a run directory that can't be written to.
    """
    from experiments.execute import device_of
    from experiments.record import code_version, versions
    from experiments.tasks.metrics import UNITS, frame_errors, metrics_of
    from experiments.training import trained

    place = device_of(device)
    model = trained.load(run, place)
    name, frames = test_frames(section)
    model.check(frames)
    directory = run.path / "evaluations"
    files.writable(directory, "RUN/evaluations")
    by_frame = frame_errors(model.predict(frames), frames)
    errors = metrics_of(by_frame)
    sha256 = frames.sha256()
    found = {
        "run_id": run.id,
        "test_set": name,
        "test_sha256": sha256,
        "frames": len(frames),
        "data": dict(section),
        "metrics": {metric: error.value for metric, error in errors.items()},
        "by_metric": {
            metric: {
                "unit": unit,
                "error": errors[metric].value,
                "error_test_sem": errors[metric].sem if math.isfinite(errors[metric].sem) else None,
            }
            for metric, unit in UNITS.items()
            if metric in errors
        },
        "device": str(place),
        "code_version": code_version(),
        "versions": versions(),
    }
    path = directory / f"{name}-{sha256[:12]}.json"
    with files.whole(path.with_suffix(".frame_errors.parquet")) as aside:
        by_frame.to_parquet(aside)
    files.write_json(path, found)
    return found, path


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: done, 2: bad input (one line says what)."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m experiments.evaluate", description="A finished run's errors on other test frames."
    )
    parser.add_argument("run", metavar="RUN", help="the run's directory, <store>/<id>")
    parser.add_argument(
        "overrides", metavar="data=NAME data.KEY=VALUE", nargs="*",
        help="the dataset whose test frames count, as for python -m experiments; without data=NAME the run's own",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the errors to FILE too")
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"))
    given = parser.parse_intermixed_args(arguments)
    import torch

    torch.set_num_threads(1)  # as in training
    run = Run(Path(os.path.abspath(given.run)))
    try:
        if run.converted() is None and not (run.path / "config.yaml").exists():
            raise InputError(f"{given.run}: no run is there; accepted: <store>/<id> of a run that is done")
        found, path = evaluate(run, section_of(run, given.overrides), given.device)
        if given.json is not None:
            files.writable(given.json.absolute().parent, "--json")
            files.write_json(given.json, found)
    except InputError as error:
        print(f"equilaw: {error}", file=sys.stderr)
        return 2
    print(f"{given.run} on the {found['frames']} frames of {found['test_set']}: {path}")
    for name, values in found["by_metric"].items():
        print(f"  {name:12} {1000 * values['error']:10.3f} m{values['unit']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
