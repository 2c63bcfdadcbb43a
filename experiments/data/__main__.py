"""`python -m experiments.data list | fetch NAME … | info NAME [data.KEY=VALUE …]`: the datasets of this machine.

`list` names them and says which are here; `fetch` downloads published ones (on a machine with a network; a compute
node then finds them in `$EQUILAW_DATA`) or takes them from a directory, and makes generated ones; `info` prints a
dataset's card, and writes its picture and the distances of test frames to training frames, which
`python -m analysis dimension` and `bounds` read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.core import command, files
from experiments.core.errors import InputError, one_line
from experiments.core.paths import CONF
from experiments.data.card import TEST_FRAMES, card_of, draw
from experiments.data.copies import take
from experiments.data.download import cache_root
from experiments.data.load import load, load_any, parse
from experiments.data.published import published


def section_of(name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The section of `data=name` with changed keys. Raises `InputError` for an unknown dataset or key."""
    for word in overrides:
        if not word.startswith("data."):
            raise InputError(f"{word}: accepted: data.KEY=VALUE")
    try:
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            section = OmegaConf.to_container(compose("config", [f"data={name}", *overrides]).data, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(one_line(error)) from None
    assert isinstance(section, dict)
    section.pop("subset_seed", None)
    return {str(key): value for key, value in section.items()}


def show_list() -> None:
    """Print every dataset: published ones with where their files are, then those that are made or read here."""
    print(f"published, kept in {cache_root()}:")
    for name, one in published().items():
        print(f"  {name:20} {'here   ' if one.here else 'missing'}  {one.what}")
    print("generated or read here (data=NAME):")
    for path in sorted((CONF / "data").glob("*.yaml")):
        if path.stem not in published() and path.stem not in ("rmd17", "md17", "mlearn"):
            print(f"  {path.stem:20} {path.read_text().splitlines()[0].lstrip('# ')}")


def fetch(words: Sequence[str], source: Path | None = None) -> None:
    """Bring sets to this machine: download published ones or copy them from `source`, make generated ones.

    Args:
        words: names, and `data.KEY=VALUE` for the generated sets among them.

    Raises:
        InputError: an unknown name or key, a failed download, files that `source` lacks, what cannot be generated.
    """
    sets, made = published(), _made()
    names = [word for word in words if not word.startswith("data.")]
    overrides = [word for word in words if word.startswith("data.")]
    if not names:
        raise InputError(f"{overrides[0]}: accepted: names of data sets before it")
    for name in names:
        if name not in sets and name not in made:
            raise InputError(f"{name}: neither published nor generated; accepted: {', '.join([*sets, *made])}")
        if name in sets and overrides:
            raise InputError(f"{overrides[0]}: {name} is published, with all its files; accepted: for generated sets")
        if name in made and source is not None:
            raise InputError(f"--from {source}: {name} is generated; accepted: for published sets")
    sections = {name: section_of(name, overrides) for name in names if name in made}
    for name, section in sections.items():  # all are looked at before the first is made: that may take hours
        if missing := [key for key, value in section.items() if value == "???"]:
            raise InputError(f"{name}: data.{missing[0]}: missing; accepted: data.{missing[0]}=VALUE beside the name")
        parse(section)
    for name in names:
        if name in made:
            dataset = load_any(sections[name])
            print(f"{name}: {len(dataset.pool)} training and {len(dataset.test)} test examples, in {cache_root()}")
            continue
        paths = sets[name].bring() if source is None else take(name, sets[name].files, source)
        folders = sorted({str(path.parent) for path in paths})
        print(f"{name}: {len(paths)} files, checked, in {', '.join(folders)}")


def _made() -> list[str]:
    """Names of the sets that are generated here: neither published nor a user's own files."""
    others = {*published(), "rmd17", "md17", "mlearn", "extxyz", "ase_db"}
    return [path.stem for path in sorted((CONF / "data").glob("*.yaml")) if path.stem not in others]


def info(name: str, overrides: Sequence[str], out: Path, seeds: int, test_frames: int) -> None:
    """Print the card of a dataset; write `card.png` and, of one molecule's frames, `distances.parquet`."""
    files.writable(out, "--out")
    dataset = load(section_of(name, overrides))
    card = card_of(dataset, range(seeds), test_frames)
    print(dataset.name)
    for fact, value in card.facts.items():
        print(f"  {fact:24} {value}")
    with files.whole(out / "card.png") as aside:
        draw(dataset, card, aside)
    written = [str(out / "card.png")]
    if card.distances is not None:
        with files.whole(out / "distances.parquet") as aside:
            card.distances.to_parquet(aside, index=False)
        written.append(str(out / "distances.parquet"))
    print(f"written: {', '.join(written)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: done, 2: bad input (one line says what)."""
    command.show_warnings()
    parser = argparse.ArgumentParser(prog="python -m experiments.data", description="The datasets of this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="names, and which are here")
    fetching = commands.add_parser("fetch", help="download published sets that are missing, make generated ones")
    fetching.add_argument("names", nargs="+", metavar="NAME", help="as in data=NAME; data.KEY=VALUE for generated sets")
    fetching.add_argument("--from", type=Path, dest="source", metavar="DIR", help="take published files from there")
    asking = commands.add_parser("info", help="the card of a dataset, its picture and its distances")
    asking.add_argument("name", metavar="NAME", help="as in data=NAME")
    asking.add_argument("overrides", nargs="*", metavar="data.KEY=VALUE")
    asking.add_argument(
        "--out", type=Path, metavar="DIR", help="for card.png and distances.parquet (default info/NAME)"
    )
    asking.add_argument("--seeds", type=int, default=3, metavar="N", help="subsets measured (default 3)")
    asking.add_argument(
        "--test-frames", type=int, default=TEST_FRAMES, metavar="N", help=f"test frames used (default {TEST_FRAMES})"
    )
    given, rest = parser.parse_known_args(arguments)
    if given.command != "info" or any(word.startswith("-") for word in rest):
        parser.parse_args(arguments)  # argparse takes overrides in one piece only; what else is left over it refuses
    else:
        given.overrides += rest
    return command.run(_answer, given)


def _answer(given: argparse.Namespace) -> None:
    if given.command == "list":
        show_list()
    elif given.command == "fetch":
        fetch(given.names, given.source)
    else:
        for option, least in (("seeds", 1), ("test_frames", 2)):
            if getattr(given, option) < least:
                raise InputError(f"--{option.replace('_', '-')} {getattr(given, option)}: must be an integer ≥ {least}")
        info(given.name, given.overrides, given.out or Path("info") / given.name, given.seeds, given.test_frames)


if __name__ == "__main__":
    sys.exit(main())
