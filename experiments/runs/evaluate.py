"""`python -m experiments.runs.evaluate RUN [data=NAME data.KEY=VALUE …]`: a finished run's errors on other test
examples, of the kind that it learned from (frames of atoms, images, voxels, jets, …).

Errors go to `<RUN>/evaluations/<test set>-<digest of them>.json` and `….frame_errors.parquet`; the run's own
result stays as it is.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.config.parse import located
from experiments.core import command, files, plugins
from experiments.core.errors import InputError, one_line
from experiments.core.kinds import kind_of, sources_of
from experiments.core.paths import CONF
from experiments.core.wording import format_error
from experiments.runs.store import Run

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from experiments.data.dataset import Frames
    from experiments.data.examples import Examples
    from experiments.tasks.metrics import MetricValue


def section_of(run: Run, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the section `data` to evaluate on: a named one from `conf/data`, or the run's own, with changed keys.

    Raises:
        InputError: other overrides than those of data; an unknown dataset or key.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    overrides = [command.quoted(word) for word in overrides]
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
    for key in ("subset", "subset_seed"):  # choose training frames
        section.pop(key, None)
    if section.get("test_frames") is None:
        section.pop("test_frames", None)  # all, as where the key is absent
    if section.get("source") in ("extxyz", "ase_db") and section.get("train") == "???":
        section["train"] = ""  # not read
    return located({str(key): value for key, value in section.items()})


def check_kind(run: Run, section: Mapping[str, Any]) -> None:
    """Raise `InputError` if the section holds another kind of examples than the run learned from."""
    learned = "molecules" if run.converted() is not None else kind_of(run.config()["data"])
    held = kind_of(section)
    if learned is not None and held is not None and held != learned:
        raise InputError(
            f"data.source={section['source']}: holds {held}, and {run.path} learned from {learned}; "
            f"accepted: {sources_of(learned)}"
        )


def test_frames(section: Mapping[str, Any]) -> tuple[str, Frames]:
    """Return name and frames of the section's test set; of files only that of the test frames is read."""
    from experiments.data import load
    from experiments.data.dataset import Dataset
    from experiments.data.sources.ase_db import AseDbConfig, atoms_of_db
    from experiments.data.sources.extxyz import ExtxyzConfig, atoms_of_file, frames_of

    settings = load.parse(section)
    if isinstance(settings, ExtxyzConfig):
        rows = atoms_of_db if isinstance(settings, AseDbConfig) else atoms_of_file
        frames = frames_of(rows(settings.test, "data.test"), settings.energy_key, settings.forces_key)
        return Path(settings.test).stem, load.chosen_test(section, frames)
    dataset = load.load_any(section)
    assert isinstance(dataset, Dataset)  # by its kind
    return dataset.test_set, dataset.test


@dataclass(frozen=True)
class ExternalEvaluation:
    """Errors of a finished run on a test set.

    name        of the test set
    test        its examples
    by_example  one row an example
    errors      by metric
    units       by metric
    """

    name: str
    test: Frames | Examples
    by_example: pd.DataFrame
    errors: Mapping[str, MetricValue]
    units: Mapping[str, str]


def external_evaluation(run: Run, section: Mapping[str, Any], place: torch.device) -> ExternalEvaluation:
    """Evaluate the run on the section's test examples; see `evaluate`, also for errors."""
    from experiments.data import load
    from experiments.data.examples import ExampleSet
    from experiments.runs import trained, trained_examples
    from experiments.tasks import classification, metrics

    stored = trained.stored_of(run)
    check_kind(run, section)
    if "n_classes" not in stored.facts:
        model = trained.load(run, place)
        name, frames = test_frames(section)
        by_frame = metrics.frame_errors(model.predict(frames), frames)
        return ExternalEvaluation(name, frames, by_frame, metrics.metrics_of(by_frame), metrics.UNITS)
    network = trained_examples.load(run, place)
    dataset = load.load_any(section)
    assert isinstance(dataset, ExampleSet)  # by its kind
    by_example = network.errors(dataset)
    errors, units = classification.metrics_of(by_example, dataset), classification.units_of(dataset)
    return ExternalEvaluation(f"{dataset.name}_{dataset.test_set}", dataset.test, by_example, errors, units)


def evaluate(run: Run, section: Mapping[str, Any], device: str = "cpu") -> tuple[dict[str, Any], Path]:
    """Evaluate the run on the section's test examples and write the errors; return them and the file's path.

    Args:
        run: a finished run.
        section: the section `data` (`section_of`).
        device: auto, cpu or cuda.

    Returns:
        The content of the file (errors of frames in eV and eV/Å), and its path.

    Raises:
        InputError: the run is not done; the data are of another kind, can't be read, or have elements, shapes or
            classes that the model was not trained on, or labels that it can't be compared with; the run's directory
            can't be written to.
    """
    from experiments.runs.execute import device_of
    from experiments.runs.result import code_version, versions

    place = device_of(device)
    directory = run.path / "evaluations"
    evaluation = external_evaluation(run, section, place)
    files.writable(directory, "RUN/evaluations")
    sha256 = evaluation.test.sha256()
    written = {
        "run_id": run.id,
        "test_set": evaluation.name,
        "test_sha256": sha256,
        "frames": len(evaluation.test),
        "n_atoms": getattr(evaluation.test, "atoms_each", None),
        "data": dict(section),
        "metrics": {metric: error.value for metric, error in evaluation.errors.items()},
        "by_metric": {
            metric: {
                "unit": unit,
                "error": evaluation.errors[metric].value,
                "error_test_sem": files.json_number(evaluation.errors[metric].sem),
            }
            for metric, unit in evaluation.units.items()
            if metric in evaluation.errors
        },
        "device": str(place),
        "code_version": code_version(),
        "versions": versions(),
    }
    path = directory / f"{evaluation.name}-{sha256[:12]}.json"
    with files.whole(path.with_suffix(".frame_errors.parquet")) as temporary:
        evaluation.by_example.to_parquet(temporary)
    files.write_json(path, written)
    return written, path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return exit code 0 (done) or 2 (bad input, told in one line)."""
    command.show_warnings()
    parser = command.Parser(
        prog="python -m experiments.runs.evaluate", description="A finished run's errors on other test examples."
    )
    parser.add_argument("run", metavar="RUN", help="the run's directory, <store>/<id>")
    parser.add_argument(
        "overrides", metavar="data=NAME data.KEY=VALUE", nargs="*",
        help="the dataset whose test examples count, as for python -m experiments; without data=NAME the run's own",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", type=command.path, help="write the errors to FILE too")
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"))
    return command.run(_evaluate, parser.parse_intermixed_args(arguments))


def _evaluate(given: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(1)  # as in training
    run = Run(Path(os.path.abspath(given.run)))
    if run.converted() is None and not (run.path / "config.yaml").exists():
        raise InputError(f"{given.run}: no run is there; accepted: <store>/<id> of a run that is done")
    if run.converted() is None and run.config().get("plugins") is not None:
        plugins.announce(run.config()["plugins"])  # data=NAME may be a source beside the run's architecture
    written, path = evaluate(run, section_of(run, given.overrides), given.device)
    if given.json is not None:
        files.writable(given.json.absolute().parent, "--json")
        files.write_json(given.json, written)
    print(f"{given.run} on the {written['frames']} examples of {written['test_set']}: {path}")
    for name, values in written["by_metric"].items():
        print(f"  {name:14} {format_error(values['error'], values['unit'], written['n_atoms'])}")


if __name__ == "__main__":
    sys.exit(main())
