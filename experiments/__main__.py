"""`python -m experiments`: one run, or a sweep with `-m` (or a named one with `+sweep=NAME`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.core import command
from experiments.core.errors import DeviceLost, InputError, RunsFailed
from experiments.core.files import DISK
from experiments.core.interrupt import STOPPED, STOPPING, StopRequest, Terminated, ending_at_once, leave, sigterm_raises
from experiments.core.paths import CONF
from experiments.core.spoken import Spoken
from experiments.core.states import RunOutcome
from experiments.core.wording import duration, format_error, per_atom, validation_error
from experiments.training.lengthy import phase

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from experiments.config.run import RunConfig
    from experiments.runs.record import Result
    from experiments.runs.store import Run

USAGE = """\
usage: python -m experiments [-m] KEY=VALUE …
  python -m experiments data=ethanol P=100 L=1 nu=3 seed=0      one run
  python -m experiments -m P=16,32,64 L=0,1 seed=0,1,2          a sweep; a named one: +sweep=NAME
  python -m experiments --help                                  every key
"""
"""Output of the command without arguments, which trains nothing."""


def guarded(config: DictConfig) -> dict[str, float] | None:
    """Run `single` and keep its errors for `main` (Hydra would print a line of its own before each)."""
    from omegaconf.errors import OmegaConfBaseException

    try:
        return single(config)
    except (InputError, RunsFailed, Stopped, OmegaConfBaseException) as problem:
        PROBLEMS.append(problem)
        return None


class Stopped(Exception):
    """A signal ended the run after its checkpoint; `code` is the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


PROBLEMS: list[Exception] = []


def single(config: DictConfig) -> dict[str, float] | None:
    """Compute one run in this process and print its errors; return the metrics in eV and eV/Å.

    Raises:
        InputError: a setting, the data or the store is wrong.
        RunsFailed: the run failed, or its device was lost.
        Stopped: a signal stopped it.
    """
    from omegaconf import OmegaConf

    from experiments.config.parse import parse, without_gpu
    from experiments.runs import trackers

    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    composed = {str(key): value for key, value in plain.items()}
    settings = parse(composed)
    trackers.check(settings)
    if (finished := _finished(settings)) is not None:
        return _answer(*finished)
    command.say(without_gpu(composed, settings))
    with ending_at_once():
        import torch

        from experiments.config.suits import check_run
        from experiments.core.files import creatable, writable
        from experiments.data.load import dataset_of
        from experiments.runs.capacity import resolve_channels
        from experiments.runs.execute import device_of, execute
        from experiments.runs.problems import check_network
        from experiments.runs.store import RunStore
        from experiments.training.pack import Interrupted

        device_of(settings.device)
        creatable(Path(settings.store), "store")  # before a dataset is generated for it
        dataset = dataset_of(settings.data)
        check_network(settings, dataset)
        settings = resolve_channels(composed, settings, dataset)
        check_run(settings, dataset)
        writable(Path(settings.store), "store")
    run = RunStore(settings.store).run(settings.run_id(dataset.sha256()))
    run.create(settings.as_dict())
    stop = StopRequest(STOPPING).install()
    torch.set_num_threads(1)  # networks this small gain nothing from more (measured)
    shown = _Shown()
    try:
        with Spoken(shown.text, shown.stage):
            outcome = execute([run], stop, shown.report)[run.id]
    except Interrupted:
        raise Stopped(f"{STOPPED} run {run.id}", stop.exit_code) from None
    except DeviceLost as error:
        raise RunsFailed(f"the device was lost ({error}); the same command continues run {run.id}") from None
    if outcome is RunOutcome.TAKEN:
        print(f"run {run.id} is being computed by another process; its result will be in {run.path}", file=sys.stderr)
        return None
    result = run.result()
    if result is None:
        raise RunsFailed(f"run {run.id} failed: {run.recorded_state().get('message')}; see {run.path}")
    return _answer(run, result, _further(dataset))


def _finished(settings: RunConfig) -> tuple[Run, Result, Mapping[str, str]] | None:
    """Return the run, its result and further test sets if it is done; without torch, which takes longer to import."""
    from experiments.config.channel_match import ChannelMatchSpec
    from experiments.data.load import dataset_of
    from experiments.runs import evaluations
    from experiments.runs.store import RunStore

    if isinstance(settings.match, ChannelMatchSpec) or not Path(settings.store).is_dir():
        return None  # weights are counted with torch; a new store has no runs
    dataset = dataset_of(settings.data)
    run = RunStore(settings.store).run(settings.run_id(dataset.sha256()))
    result, tests = run.result(), _further(dataset)
    return None if result is None or evaluations.lacking(run, tests) else (run, result, tests)


def _further(dataset: object) -> Mapping[str, str]:
    """Return the digests of a dataset's further test sets by name."""
    from experiments.data.dataset import Dataset

    return dataset.further_sha256 if isinstance(dataset, Dataset) else {}


def _answer(run: Run, result: Result, tests: Mapping[str, str]) -> dict[str, float]:
    """Print the errors of a finished run, on all its test sets, and return its own in eV and eV/Å.

    Raises RunsFailed if one of `tests` could not be evaluated.
    """
    from experiments.core import files
    from experiments.runs import evaluations

    convergence = "converged" if result.converged else "NOT converged: raise training.max_steps"
    print(f"{run.path}: {result.verdict or convergence}")  # results of earlier versions have no verdict in words
    for name, values in result.by_metric.items():
        if values.error is not None:
            error = format_error(values.error, per_atom(name, values.unit), result.get("n_atoms"))
            print(f"  {name:14} {error}")
    for test_set, sha256 in tests.items():
        content = files.read_json(evaluations.path_of(run, test_set, sha256)) or {}
        for name, error in content.get("by_metric", {}).items():
            shown = format_error(error["error"], per_atom(name, error["unit"]), content.get("n_atoms"))
            print(f"  {name:14} {shown}  {test_set}")
    if lacking := evaluations.lacking(run, tests):
        raise RunsFailed(
            f"run {run.id} is done, but lacks errors on {', '.join(lacking)}; the same command tries again"
        )
    return {name: error for name, error in result.metrics.items() if error is not None}


class _Shown:
    """What is told of a run under way: its phase, or how far its training or its fit is."""

    def __init__(self) -> None:
        self._line = ""
        self._steps = 0.0
        self._begun = False

    def report(self, event: Any) -> None:
        """Take an event of the run."""
        if event["event"] == "step":
            command.say(event["text"])
        if event["event"] != "progress":
            return
        name, error = validation_error(event)
        # of a fit in closed form it is the share of its one pass that is done
        done = f"{event['share']:.0%}" if "share" in event else f"update {event['clock']}/{event['total']}"
        left = event.get("seconds_left")
        shown = [done, f"{event['seconds']:.0f} s", f"validation {name} {error}" if name else ""]
        shown.append("" if left is None else f"about {duration(left)} left")
        self._line = ", ".join(filter(None, shown))
        self._steps = int(10 * event["share"]) if "share" in event else event["clock"]

    def text(self) -> str:
        """Return the phase and the latest progress."""
        return ": ".join(filter(None, (self._phase(), self._line)))

    def stage(self) -> object:
        """Return what is told of as soon as it changes."""
        return self._phase(), self._steps

    def _phase(self) -> str:
        at = phase()
        self._begun |= at is not None
        if at == "evaluating" or (at is None and self._begun):
            return "training"  # evaluations are short, and many
        return at or "starting"


def main() -> int:
    """Run the command line.

    Returns:
        The exit code: 0: done, 1: a run failed, 2: bad input (told in one line), 128 + n: stopped by signal n.
    """
    command.spell_out()
    try:
        with sigterm_raises():
            return command.read_or_not(_main)
    except InputError as error:  # of a word of the command line
        return _say(str(error), 2)
    except KeyboardInterrupt as error:
        return _say(STOPPED, 143 if isinstance(error, Terminated) else 130)


def _main() -> int:
    command.show_warnings()
    # argparse takes KEY=VALUE arguments in one piece only; -m may stand anywhere
    sys.argv[1:] = sorted(command.joined(sys.argv[1:]), key=lambda word: word not in ("-m", "--multirun"))
    words = [word for word in sys.argv[1:] if word not in ("-m", "--multirun")]
    if not words:
        sys.stderr.write(USAGE)
        return 2
    if [word for word in words if not word.startswith("hydra.")] in (["--help"], ["-h"]):
        from experiments.config.help import help_text

        print(help_text())
        return 0
    if strange := next((word for word in sys.argv[1:] if _unknown_option(word)), None):
        return _say(f"{strange}: no such option; accepted: KEY=VALUE, as P=16, and -m for a sweep of several values", 2)
    if strange := next((word for word in words if _undecoded(word)), None):
        return _say(f"{strange}: letters that the locale ({sys.getfilesystemencoding()}) lacks; set PYTHONUTF8=1", 2)
    import hydra  # takes longer than the whole help
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from experiments.core import plugins

    sys.argv[1:] = [command.quoted(word) for word in sys.argv[1:]]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and the message below is ours
    try:
        for word in words:
            if word.startswith("plugins="):  # Hydra chooses groups before it reads keys, and workers inherit it
                plugins.announce(word.partition("=")[2].strip("'\""))
        overrides, swept = _of_configuration_asked_for(sys.argv[1:])
        if overrides is not None:
            words = overrides
            sys.argv[1:] = [word for word in sys.argv[1:] if word not in (*swept, "-m", "--multirun")]
        hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(guarded)()
        for problem in PROBLEMS:
            raise problem
        if overrides is not None:
            sys.stdout.flush()  # before what is said of it
            _say_of_configuration(overrides, swept)
    except InputError as error:
        return _say(str(error), 2)
    except Stopped as error:
        return _say(str(error), error.code)
    except RunsFailed as error:
        return _say(str(error), 1)
    except (HydraException, OmegaConfBaseException) as error:
        from experiments.config.mistakes import mistakes_of

        return _say(mistakes_of([command.quoted(word) for word in words], error), 2)
    except OSError as error:
        if error.errno not in DISK:
            raise  # a pipe whose reader has gone among them
        where = f"{error.filename or 'a file'}: {os.strerror(error.errno)}"
        return _say(f"{where}; nothing is lost, the same command continues", 1)
    return 0


def _of_configuration_asked_for(words: Sequence[str]) -> tuple[list[str] | None, list[str]]:
    """Return the overrides of a command that prints a configuration (`--cfg`), and those of them that sweep.

    Hydra refuses the latter there, and `-m`. The overrides are None if the command prints none.
    """
    from hydra._internal.utils import get_args_parser
    from hydra.core.override_parser.overrides_parser import OverridesParser

    asked, _ = get_args_parser().parse_known_args(list(words))
    if asked.cfg is None:
        return None, []
    parse = OverridesParser.create().parse_override
    return asked.overrides, [word for word in asked.overrides if parse(word).is_sweep_override()]


def _say_of_configuration(overrides: Sequence[str], swept: Sequence[str]) -> None:
    """Say on standard error what the runs of these words compile, and of which keys the values above are not theirs."""
    from hydra.utils import get_method

    if swept:
        command.say(f"swept, so that what is above has other values: {' '.join(swept)}")
    # A plugin of Hydra, as launchers are: a run by itself knows nothing of sweeps.
    if text := get_method("hydra_plugins.equilaw.compiling")(overrides):
        command.say(text)


def _unknown_option(word: str) -> bool:
    """Return whether a word of the command line looks like an option, and is none of Hydra's."""
    from hydra._internal.utils import get_args_parser

    name = word.partition("=")[0]
    known = get_args_parser()._option_string_actions
    return name.startswith("-") and name not in known and not any(option.startswith(name) for option in known)


def _undecoded(word: str) -> bool:
    """Return whether a word of the command line has bytes that are no letters in this locale."""
    return any("\udc80" <= letter <= "\udcff" for letter in word)


def _say(message: str, code: int) -> int:
    command.say(message)
    return code


if __name__ == "__main__":
    leave(main())
