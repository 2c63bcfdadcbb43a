"""The page of a section, written from its run table: what `fit`, `compare` and `claim` say of it, and its figure.

Every sentence with a number is a command's; a test fails where page and table differ.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shlex
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd

from analysis import cli
from analysis.errors import InputError
from analysis.protocol import BUDGET, VALIDATION
from benchmarks.results import merged_table, plateau
from benchmarks.results.architectures import cost_table
from benchmarks.results.beside import sections_of, trained_table
from benchmarks.results.costs import Costs, told
from benchmarks.results.outstanding import Label, Place, gained, is_there, label, labels_of
from benchmarks.results.sections import SECTIONS, Section
from experiments.config.run import RunConfig
from slurm.from_words import configs_of

LINEARISED = (
    "Networks linearised around their initial weights, without an optimiser: a hypothesis about trained ones "
    "([docs/linearised.md](../../linearised.md)). {trained}"
)
PLATEAU = (
    f"What follows is of [{plateau.FILE}]({plateau.FILE}): of every network and P the runs with the largest budget, "
    "each trained until its validation errors had stopped gaining, or as far as the table goes."
)


def said(*words: str) -> str:
    """Return what a command of `analysis` prints on standard output.

    Raises:
        InputError: it refused the table, as it does one of a section that has hardly begun; the message is its own.
    """
    out, problem = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(problem):
        code = cli.main(list(words))
    if code:
        raise InputError(problem.getvalue().strip() or f"exit code {code}")
    return out.getvalue().rstrip()


def _block(words: list[str], table: Path) -> str:
    """Return a command with what it prints, or with why it refuses the table."""
    try:
        text = said(words[0], "--table", str(table), *words[1:])
    except InputError as error:
        text = str(error).replace(str(table), table.name)
    return f"`python -m analysis {' '.join(words)} --table {table.name}`\n\n```text\n{text}\n```"


def page(name: str, place: Place) -> str:
    """Return a section's page, from its run table."""
    section, table = SECTIONS[name], place.table(name)
    runs = pd.read_csv(table, low_memory=False).drop_duplicates("run_id")
    sizes = ", ".join(str(size) for size in sorted(runs["P"].unique()))
    size = f"{len(runs)} runs, P = {sizes}, {runs['seed'].nunique()} seeds"
    asked, again = computed(name, place), name if place.later or not section.later else f'"{name} --later"'
    sweeps = "\n".join(f"python -m experiments -m {words}" for words in asked)
    blocks = [_block(words, plateau.table_of(name, place)) for words in _commands(section)]
    trained = ", ".join(f"[{other}](../{other}/README.md)" for other in sections_of(section.data, place))
    standing = f"Trained networks stand in {trained}." if trained else "**Not trained yet.**"
    texts = [
        f"# {section.heading}",
        section.remark,
        LINEARISED.format(trained=standing) if section.linearised else "",
        f"**The papers.** {section.paper}" if section.paper else "",
        f"**This table.** {size}, {runs['cpu_seconds'].sum() / 60:.0f} processor minutes: [runs.csv](runs.csv). "
        f"`make results ARGS={again}` computes what it lacks of",
        f"```\n{sweeps}\n```",
        PLATEAU if section.only_gaining else "",
        not_run(name, place),
        f"**What would overturn it.** {section.overturned_by}",
        f"![Learning curves]({section.figure})" if section.figure and (table.parent / section.figure).exists() else "",
        trained_table(name, place) if section.part == "trained" else "",
        cost_table(table) if section.part == "architectures" else "",
        *blocks,
    ]
    return "\n\n".join(text for text in texts if text) + "\n"


def outcome_of_claim(text: str, stop: str = BUDGET) -> tuple[str, str] | None:
    """Return the first outcome of a page on the claim and the line of exponents below it; None where there is none.

    Args:
        text: the page.
        stop: protocol of trained networks, whose errors are those of the whole budget or those stopped by validation.
    """
    for outcome, betas in re.findall(r"^(\S.*: the claim [A-Z].*)\n\s*(β: .*)$", text, flags=re.MULTILINE):
        if (f"stop={VALIDATION}" in outcome) == (stop == VALIDATION):
            return outcome, betas
    return None


def _commands(section: Section) -> list[list[str]]:
    compare = ["compare", "--by", section.by] if section.by else ["compare"]
    if section.part == "symmetry":
        return [compare]  # exponents of curves that are not converged say little by themselves
    protocols = [[], ["--stop", VALIDATION]] if section.part == "trained" else [[]]
    judged = [["claim"], ["fit"]] if section.cells else [["fit"]]
    return [*([*words, *protocol] for protocol in protocols for words in judged), compare]


def not_run(name: str, place: Place) -> str:
    """Return what of a section's sweeps its table lacks, by model, with core hours told from the table itself.

    A run that lacks one of its test sets is counted: its network is gone with the store.
    """
    section = SECTIONS[name]
    table = merged_table.read(place.table(name))
    known = labels_of(table)
    left = [config for config in wanted(name, place).values() if not is_there(config, known)]
    if section.only_gaining:
        left = [config for config in left if gained(table, config)]
    if not left:
        return ""
    costs = Costs([place.table(name)])
    models: dict[str, list[RunConfig]] = {}
    for config in left:
        again = f", tested on {', '.join(config.data['tests'])}" if label(config) in known else ""
        models.setdefault(f"{_model(config)}{again}", []).append(config)
    lines = [
        f"- {model}: {_sizes(configs)}, {told(*costs.hours(configs, section.data))}"
        for model, configs in models.items()
    ]
    return "\n".join(["**Not run yet.**", "", *lines])


def computed(name: str, place: Place) -> list[str]:
    """Return the sweeps that a section's table is of: those asked for, and those for later that have begun."""
    section, known = SECTIONS[name], labels_of(merged_table.read(place.table(name)))
    later = () if place.quick or place.later else section.later
    begun = [words for words in later if any(is_there(config, known) for config in _configs(words))]
    return [*place.sweeps(section), *begun]


def wanted(name: str, place: Place) -> dict[Label, RunConfig]:
    """Return all runs of a section by label, also those for later; needs neither data nor tuned rates.

    None of a section of several datasets: labels do not tell these apart.
    """
    section = SECTIONS[name]
    if not section.data:
        return {}
    everything = dict.fromkeys([*place.sweeps(section), *(() if place.quick else section.later)])
    return {
        label(config): config
        for words in everything
        for config in _configs(words.replace(f"training.tuned={name}", ""))
    }


def _configs(words: str) -> list[RunConfig]:
    """Return the points of a sweep. Composing one takes 20 ms: those of one P and seed are composed once for all data.

    Their data are what the words say, without what a sweep's file adds: only names of test sets are asked for here.
    """
    split = shlex.split(words)
    given = {key: values.split(",") for key, _, values in (word.partition("=") for word in split)}
    sizes, seeds = given.get("P", []), given.get("seed", [])
    if not (sizes and seeds and all(text.isdigit() for text in (*sizes, *seeds))):
        return configs_of(split)
    grid = (f"P={','.join(sizes)}", f"seed={','.join(seeds)}")
    own = tuple(word for word in split if word not in grid)
    of_data = tuple(word for word in own if word.startswith(("data=", "data.")))
    one = (f"P={sizes[0]}", f"seed={seeds[0]}")
    models = _composed((*(word for word in own if word not in of_data), *one))
    data = _composed((*of_data, "model=ace", *one))[0].data
    return [
        replace(config, data=data, P=int(size), seed=int(seed)) for config in models for size in sizes for seed in seeds
    ]


@functools.cache
def _composed(words: tuple[str, ...]) -> list[RunConfig]:
    return configs_of(list(words))


def _model(config: RunConfig) -> str:
    own = {
        "L": config.L,
        "ν": config.nu,
        "edge": getattr(config.model, "edge_lmax", None),
        "layers": getattr(config.model, "n_layers", None),
        "updates": None if config.training is None else config.training.max_steps,
    }
    rotated = ["rotated copies"] if config.training is not None and config.training.augment else []
    words = [config.architecture, *(f"{key} {value}" for key, value in own.items() if value is not None)]
    return " ".join([*words, *rotated])


def _sizes(configs: list[RunConfig]) -> str:
    sizes = sorted({config.P for config in configs})
    return f"P = {', '.join(map(str, sizes))} ({len(configs)} runs)"


def write(name: str, place: Place) -> Path | None:
    """Write a section's figure and page, and return the page; None if it has no table yet."""
    folder, table = place.tables / name, place.table(name)
    if not table.exists():
        return None
    plateau.write(name, place)
    if SECTIONS[name].figure:
        _draw(folder, plateau.table_of(name, place), SECTIONS[name].figure)
    path = folder / "README.md"
    path.write_text(page(name, place), encoding="utf-8")
    return path


def _draw(folder: Path, table: Path, figure: str) -> None:
    """Write a figure of a table into a section's folder."""
    with tempfile.TemporaryDirectory() as drawn:
        with contextlib.suppress(InputError):  # the page has the reason beside the other commands
            said("figures", "--table", str(table), "--out", drawn)
        if (Path(drawn) / figure).exists():
            (folder / figure).write_bytes((Path(drawn) / figure).read_bytes())
