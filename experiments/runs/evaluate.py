"""`python -m experiments.runs.evaluate RUN [data=NAME data.KEY=VALUE …]`: a finished run's errors on other test
examples, of the kind that it learned from (frames of atoms, images, voxels, jets, …).

With `data.tests={NAME: FILE, …}`, of a run or of all runs of a store, named sets become rows of the run table, with
curves of their own, as if they had been named when the runs were computed; a store alone gets what its runs still lack.

Errors go to `<RUN>/evaluations/<test set>-<digest of them>.json` and `….frame_errors.parquet`; the run's own
result stays as it is.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.config.parse import located
from experiments.core import command, files, plugins
from experiments.core.errors import InputError
from experiments.core.kinds import FILE_SOURCES, kind_of, sources_of
from experiments.core.library_errors import one_line
from experiments.core.paths import CONF
from experiments.core.wording import format_error
from experiments.runs.evaluations import FOLDER, lacking, path_of
from experiments.runs.store import Run, RunStore

if TYPE_CHECKING:
    import torch

    from experiments.data.dataset import Frames
    from experiments.data.load import Section
    from experiments.runs.external import ExternalEvaluation


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

    from experiments.data.load import without_lost_tests

    overrides = [command.quoted(word) for word in command.joined(overrides)]
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
                key = override.key_or_group.removeprefix("data.")
                # only the sets that are named now: files of others may be gone
                OmegaConf.update(composed, key, override.value(), merge=key != "tests")
        section = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(one_line(error)) from None
    assert isinstance(section, dict)
    for key in ("subset", "subset_seed"):  # choose training frames
        section.pop(key, None)
    if section.get("test_frames") is None:
        section.pop("test_frames", None)  # all, as where the key is absent
    if section.get("source") in FILE_SOURCES and section.get("train") == "???":
        section["train"] = ""  # not read
    whole = located({str(key): value for key, value in section.items()})
    return whole if any(word.startswith("data.tests=") for word in overrides) else without_lost_tests(whole)


def check_kind(run: Run, section: Mapping[str, Any]) -> None:
    """Raise `InputError` if the section holds another kind of examples than the run learned from."""
    learned = "molecules" if run.converted() is not None else kind_of(run.config()["data"])
    held = kind_of(section)
    if learned is not None and held is not None and held != learned:
        raise InputError(
            f"data.source={section['source']}: holds {held}, and {run.path} learned from {learned}; "
            f"accepted: {sources_of(learned)}"
        )


def external_evaluation(run: Run, section: Mapping[str, Any], place: torch.device) -> ExternalEvaluation:
    """Evaluate the run on the section's test examples; see `evaluate`, also for errors."""
    from experiments.data import load
    from experiments.data.dataset import Dataset
    from experiments.data.examples import ExampleSet
    from experiments.data.sources.extxyz import ExtxyzConfig
    from experiments.runs import external, trained

    stored = trained.stored_of(run)
    check_kind(run, section)
    if "n_classes" not in stored.facts:
        if isinstance(load.parse(section), ExtxyzConfig):  # what did not train need not be there
            frames = _frames(load.key_of(_without_tests(section)), "data.test", _training_file(section))
            return external.of_frames(run, Path(section["test"]).stem, frames, place)
        dataset = load.load_any(section)
        assert isinstance(dataset, Dataset)  # by its kind
        return external.of_frames(run, dataset.test_set, dataset.test, place)
    examples = load.load_any(section)
    assert isinstance(examples, ExampleSet)  # by its kind
    return external.of_examples(run, examples, place)


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
    from experiments.runs import external
    from experiments.runs.execute import device_of

    place = device_of(device)
    evaluation = external_evaluation(run, section, place)
    files.writable(run.path / FOLDER, f"RUN/{FOLDER}")
    written = external.write(run, evaluation, place, data=section)
    return written, path_of(run, evaluation.name, written["test_sha256"])


def evaluate_further(run: Run, section: Mapping[str, Any], device: str = "cpu") -> list[dict[str, Any]]:
    """Evaluate the run on those of the section's `tests` that it lacks; they are rows of the run table from then on.

    Args:
        run: a finished run on molecules; its configuration keeps the names and files.
        section: the section `data`.
        device: auto, cpu or cuda.

    Returns:
        The contents of the files that were written, one a set.

    Raises:
        InputError: see `evaluate`; or a set has the name of the run's own one, and other frames.
    """
    from experiments.data import load
    from experiments.runs import external, trained
    from experiments.runs.execute import device_of

    place, result = device_of(device), run.result()
    trained.stored_of(run)
    check_kind(run, section)
    written = []
    train = _training_file(section)
    for name, one in load.further_sections(section).items():
        frames = _frames(load.key_of(one), f"data.tests.{name}", train)
        if result is not None and name == result.test_set:
            if frames.sha256() == _frames(load.key_of(_without_tests(section)), "data.test", train).sha256():
                continue
            raise InputError(f"data.tests: {name} is the name of data.test, which has other frames; accepted: another")
        if lacking(run, {name: frames.sha256()}):
            files.writable(run.path / FOLDER, f"RUN/{FOLDER}")
            errors = external.of_frames(run, name, frames, place)
            written.append(external.write(run, errors, place, axis=True, data=one))
    run.create({"data": {"tests": dict(section.get("tests") or {})}})
    return written


def _without_tests(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key != "tests"}


def _training_file(section: Mapping[str, Any]) -> str | None:
    """Return the training file of a section, if it is of files and that one is still there."""
    file = section.get("train") if section.get("source") in FILE_SOURCES else None
    return file if file and os.path.exists(file) else None


@functools.lru_cache(maxsize=32)
def _frames(section: Section, option: str, train: str | None) -> Frames:
    """Return the frames of a test set, read and checked once for all runs of a store, beside those of a training file.

    Raises:
        InputError: see `load.read_test` and `check_frames`.
    """
    from experiments.data import load
    from experiments.data.checks import check_frames

    frames = load.read_test(dict(section), option)
    own = tuple((key, value) for key, value in section if key not in ("test", "test_frames", "tests"))
    trained = {} if train is None else {f"data.train={train}": _training_frames(own, train)}
    check_frames({**trained, option: frames}, next(iter(trained), option), known=tuple(trained))
    return frames


@functools.lru_cache(maxsize=1)
def _training_frames(section: Section, train: str) -> Frames:
    from experiments.data import load

    return load.read_test({**dict(section), "test": train}, "data.train")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return exit code 0 (done) or 2 (bad input, told in one line)."""
    command.show_warnings()
    parser = command.Parser(
        prog="python -m experiments.runs.evaluate", description="A finished run's errors on other test examples."
    )
    parser.add_argument("run", metavar="RUN", help="the run's directory, <store>/<id>; or a store: all its runs")
    parser.add_argument(
        "overrides", metavar="data=NAME data.KEY=VALUE", nargs="*",
        help="the dataset whose test examples count, as for python -m experiments; without data=NAME the run's own. "
        "data.tests={NAME: FILE, …}: named test sets, whose errors become rows of the run table",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", type=command.path, help="write the errors to FILE too")
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"))
    return command.run(_evaluate, parser.parse_intermixed_args(arguments))


def _evaluate(given: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(1)  # as in training
    run = Run(Path(os.path.abspath(command.path(given.run))))
    is_run = run.converted() is not None or (run.path / "config.yaml").exists()
    runs = [run] if is_run else [run for run, _ in RunStore(run.path).results()]
    if not runs:
        raise InputError(f"{given.run}: no run is there; accepted: <store>/<id> of a run that is done, or a store")
    words = command.joined(given.overrides)
    further = [word for word in words if word.startswith("data.tests=")]
    if not is_run or further:
        if other := next((word for word in words if word not in further), None):
            raise InputError(
                f"{other}: accepted of one run, <store>/<id>, alone; of a store, or beside it: "
                "data.tests={NAME: FILE, …}"
            )
        contents: Any = _evaluate_all(runs, given)
    else:
        _announce_plugins(run)  # data=NAME may be a source beside the run's architecture
        written, path = evaluate(run, section_of(run, given.overrides), given.device)
        _print(given.run, written, path)
        contents = written
    if given.json is not None:
        files.writable(given.json.absolute().parent, "--json")
        files.write_json(given.json, contents)


def _evaluate_all(runs: Sequence[Run], given: argparse.Namespace) -> list[dict[str, Any]]:
    """Evaluate runs on named test sets; print each result, and go on after a run that cannot predict one.

    Raises:
        InputError: no set is named, or some runs could not be evaluated: a line for each reason.
    """
    contents: list[dict[str, Any]] = []
    reasons: dict[str, int] = {}
    named = False
    for run in runs:
        _announce_plugins(run)
        section = section_of(run, given.overrides)
        named |= bool(section.get("tests"))
        try:
            found = evaluate_further(run, section, given.device)
        except InputError as error:
            reasons[str(error)] = reasons.get(str(error), 0) + 1
            continue
        for written in found:
            _print(run.path, written, path_of(run, written["test_set"], written["test_sha256"]))
            sys.stdout.flush()
        contents += found
    if not named:
        raise InputError(f"{given.run}: its runs name no further test sets; accepted: data.tests={{NAME: FILE, …}}")
    if not contents and not reasons:
        print(f"{given.run}: nothing is lacking")
    if reasons:
        lines = (
            reason + (f" ({count} of {len(runs)} runs)" if len(runs) > 1 else "") for reason, count in reasons.items()
        )
        raise InputError("\n".join(lines))
    return contents


def _announce_plugins(run: Run) -> None:
    if run.converted() is None and run.config().get("plugins") is not None:
        plugins.announce(run.config()["plugins"])


def _print(run: object, written: Mapping[str, Any], path: Path) -> None:
    print(f"{run} on the {written['frames']} examples of {written['test_set']}: {path}")
    for name, values in written["by_metric"].items():
        print(f"  {name:14} {format_error(values['error'], values['unit'], written['n_atoms'])}")


if __name__ == "__main__":
    sys.exit(main())
