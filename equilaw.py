"""The console command `equilaw`: a list of sub-commands, each handed to the module that does it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from experiments.core.command import read_or_not, say, spell_out
from experiments.core.interrupt import leave
from experiments.core.paths import ROOT
from experiments.core.wording import did_you_mean

COMMANDS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "run": ("experiments.__main__", (), "train one run: P=100 L=1 nu=3 seed=0"),
    "sweep": ("experiments.__main__", ("-m",), "train a grid of runs: P=16,32,64 L=0,1, or +sweep=NAME"),
    "plan": (
        "experiments.__main__",
        ("-m", "hydra.launcher.submit=false"),
        "print the runs that a sweep would train, one per line",
    ),
    "data": ("experiments.data.__main__", (), "list, download or describe datasets"),
    "evaluate": ("experiments.runs.evaluate", (), "errors of a finished run on other test examples"),
    "tune": ("experiments.runs.tune", (), "choose learning rates from the runs of +sweep=tune"),
    "convert": ("experiments.interop.convert", (), "take over a network of mace-torch or nequip"),
    "distances": ("experiments.runs.measure_distances", (), "measure how far test frames are from training frames"),
    "table": ("analysis.cli", ("table",), "write the run table of a store"),
    "fit": ("analysis.cli", ("fit",), "fit exponents of every learning curve"),
    "compare": ("analysis.cli", ("compare",), "compare exponents of models, in words"),
    "claim": ("analysis.cli", ("claim",), "the pre-registered test of the claim"),
    "design": ("analysis.cli", ("design",), "how many seeds and sizes would decide it"),
    "forecast": ("analysis.cli", ("forecast",), "errors at larger P, and the frames to an error"),
    "bounds": ("analysis.cli", ("bounds",), "exponents beside the bounds of theory"),
    "dimension": ("analysis.cli", ("dimension",), "dimension of the data"),
    "errors": ("analysis.cli", ("errors",), "intervals of errors over seeds and test frames"),
    "spectrum": ("analysis.cli", ("spectrum",), "why exponents of closed forms differ: labels and kernels' directions"),
    "calibrate": ("analysis.cli", ("calibrate",), "coverage of the intervals"),
    "figures": ("analysis.cli", ("figures",), "draw all figures that a table has the data for"),
    "report": ("analysis.cli", ("report",), "write one HTML page that people read"),
    "status": ("slurm.cli", ("status",), "all runs of a store: done, running, queued, failed, lost"),
    "logs": ("slurm.cli", ("logs",), "the last output of a run and its job"),
    "cancel": ("slurm.cli", ("cancel",), "end runs by ending their jobs"),
    "retry": ("slurm.cli", ("retry",), "queue failed, lost and cancelled runs again"),
    "doctor": ("slurm.cli", ("doctor",), "check this cluster for all that a sweep needs"),
    "cluster": ("slurm.cli", ("cluster",), "a real Slurm on this machine, to try things on"),
}
"""Sub-command → module with `main()`, the words that go before the user's own, one line of help."""
MODULES = ("experiments", "slurm", "analysis")
"""The packages that the sub-commands belong to; each is a command of its own, `python -m NAME`."""
USAGE = "usage: equilaw COMMAND …   (equilaw --help lists the commands, equilaw COMMAND --help explains one)"


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the words after the sub-command to its module.

    Args:
        argv: words after `equilaw`; None: those that the process was started with.

    Returns:
        The module's exit code; 0 after help and version; 2, with usage on standard error, without a known sub-command.
    """
    spell_out()
    return read_or_not(lambda: _main(list(sys.argv[1:] if argv is None else argv)))


def run() -> NoReturn:
    """Carry out the command line and end the process with its exit code."""
    leave(main())


def _main(words: list[str]) -> int:
    name = words[0] if words else ""
    if name in ("-h", "--help", "help"):
        print(USAGE, *(f"  {command:10} {text}" for command, (_, _, text) in COMMANDS.items()), sep="\n")
        return 0
    if name in ("-V", "--version"):
        print(f"equilaw {metadata.version('equilaw')}")
        return 0
    if name not in COMMANDS:
        if name:
            near = did_you_mean(name, COMMANDS) or did_you_mean(name, MODULES, "python -m ")
            print(f"equilaw: {name}: no such command{near}", file=sys.stderr)
        print(USAGE, file=sys.stderr)
        return 2
    module, first, _ = COMMANDS[name]
    package = module.partition(".")[0]
    if (other := _hidden_by(package)) is not None:
        say(f"{other}: hides this program's own package {package!r}; accepted: a PYTHONPATH without that folder")
        return 2
    sys.argv = [f"equilaw {name}", *first, *words[1:]]  # Hydra and the parsers read it
    code: int = importlib.import_module(module).main()
    return code


def _hidden_by(package: str) -> str | None:
    """Return where another package of this name lies that Python finds first; None if it finds the program's own."""
    found = importlib.util.find_spec(package)
    places = [] if found is None else [*(found.submodule_search_locations or []), str(found.origin)]
    return None if not places or Path(places[0]).resolve() == ROOT / package else places[0]


if __name__ == "__main__":
    run()
