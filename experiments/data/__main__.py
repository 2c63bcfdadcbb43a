"""`python -m experiments.data list | fetch NAME … | info NAME [data.KEY=VALUE …]`: the datasets of this machine.

`list` names them and says which are here; `fetch` downloads published ones (on a machine with a network; a compute
node then finds them in `$EQUILAW_DATA`); `info` prints a dataset's card, and writes its picture and the distances
of test frames to training frames, which `python -m analysis dimension` and `bounds` read.
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
from experiments.data.download import cache_root
from experiments.data.load import load
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
    for name, dataset in published().items():
        print(f"  {name:20} {'here   ' if dataset.here else 'missing'}  {dataset.what}")
    print("generated or read here (data=NAME):")
    for path in sorted((CONF / "data").glob("*.yaml")):
        if path.stem not in published() and path.stem not in ("rmd17", "md17"):
            print(f"  {path.stem:20} {path.read_text().splitlines()[0].lstrip('# ')}")


def fetch(names: Sequence[str]) -> None:
    """Download the published sets that are missing. Raises `InputError` for an unknown name or a failed download."""
    sets = published()
    for name in names:
        if name not in sets:
            raise InputError(f"{name}: no published set; accepted: {', '.join(sets)}")
    for name in names:
        paths = sets[name].bring()
        folders = sorted({str(path.parent) for path in paths})
        print(f"{name}: {len(paths)} files, checked, in {', '.join(folders)}")


def info(name: str, overrides: Sequence[str], out: Path, seeds: int, test_frames: int) -> None:
    """Print the card of a dataset; write `card.png` and, of one molecule's frames, `distances.parquet`."""
    files.writable(out, "--out")
    dataset = load(section_of(name, overrides))
    card = card_of(dataset, range(seeds), test_frames)
    print(dataset.name)
    for fact, value in card.facts.items():
        print(f"  {fact:24} {value}")
    with files.whole(out / "card.png") as temporary:
        draw(dataset, card, temporary)
    written = [str(out / "card.png")]
    if card.distances is not None:
        with files.whole(out / "distances.parquet") as temporary:
            card.distances.to_parquet(temporary, index=False)
        written.append(str(out / "distances.parquet"))
    print(f"written: {', '.join(written)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: done, 2: bad input (one line says what)."""
    command.show_warnings()
    parser = argparse.ArgumentParser(prog="python -m experiments.data", description="The datasets of this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="names, and which are here")
    fetching = commands.add_parser("fetch", help="download published sets that are missing")
    fetching.add_argument("names", nargs="+", metavar="NAME")
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
        fetch(given.names)
    else:
        for option, least in (("seeds", 1), ("test_frames", 2)):
            if getattr(given, option) < least:
                raise InputError(f"--{option.replace('_', '-')} {getattr(given, option)}: must be an integer ≥ {least}")
        info(given.name, given.overrides, given.out or Path("info") / given.name, given.seeds, given.test_frames)


if __name__ == "__main__":
    sys.exit(main())
