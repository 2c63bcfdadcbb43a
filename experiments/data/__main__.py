"""`python -m experiments.data list | fetch NAME … | info NAME … | ladder NAME …`: the datasets of this machine.

`list` names all datasets and says which are on this machine; `fetch` downloads published ones (on a machine with a
network; compute nodes then read them from `$EQUILAW_DATA`) or copies them from a directory, and makes generated ones;
`info` prints a summary of a dataset and writes its plots and the distances of test frames to training frames, which
`python -m analysis dimension` and `bounds` read; `ladder` writes the training subsets for networks of other packages.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.core import command, files
from experiments.core.errors import InputError
from experiments.core.library_errors import one_line
from experiments.core.paths import CONF
from experiments.core.wording import did_you_mean
from experiments.data.card import TEST_FRAMES, card_of, draw
from experiments.data.copies import take
from experiments.data.download import cache_root
from experiments.data.handout import write_subsets
from experiments.data.load import load, load_any, parse
from experiments.data.published import published

logger = logging.getLogger(__name__)


def section_of(name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the section `data=name` with the given `data.KEY=VALUE` changes.

    Raises `InputError` for an unknown dataset or key.
    """
    from hydra import compose, initialize_config_dir  # takes longer than a help, which needs none of it
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    words = [command.quoted(word) for word in command.joined([f"data={name}", *overrides])]
    for word in words[1:]:
        if not word.startswith("data."):
            raise InputError(f"{word}: accepted: data.KEY=VALUE")
    try:
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            section = OmegaConf.to_container(compose("config", words).data, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(one_line(error)) from None
    assert isinstance(section, dict)
    section.pop("subset_seed", None)
    return {str(key): value for key, value in section.items()}


def show_list() -> None:
    """Print every dataset: published ones and whether their files are here, then generated ones and user files."""
    print(f"published, in {cache_root()}:")
    for name, dataset in published().items():
        mark = "" if dataset.verified else " [unverified]"
        print(f"  {name:20} {'here   ' if dataset.cached else 'missing'}  {dataset.what}{mark}")
    print("  [unverified]: the reader was tried with files made in the published form, not with all published files")
    print("generated or read here (data=NAME):")
    for path in sorted((CONF / "data").glob("*.yaml")):
        if path.stem not in published() and path.stem not in ("rmd17", "md17", "mlearn"):
            print(f"  {path.stem:20} {path.read_text().splitlines()[0].lstrip('# ')}")


def fetch(words: Sequence[str], source: Path | None = None) -> None:
    """Make datasets available here: download published ones or copy them from `source`, make generated ones.

    Args:
        words: names, and `data.KEY=VALUE` for the generated sets among them.
        source: a directory that has the files of published ones; None: the network.

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
            near = did_you_mean(name, [*sets, *made])
            raise InputError(f"{name}: neither published nor generated{near}; accepted: {', '.join([*sets, *made])}")
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
        paths = sets[name].fetch_all() if source is None else take(name, sets[name].files, source)
        folders = sorted({str(path.parent) for path in paths})
        print(f"{name}: {len(paths)} files, checked, in {', '.join(folders)}")
        if not sets[name].verified:
            logger.warning("%s: unverified: its reader was not tried with all published files; look at `info`", name)


def _made() -> list[str]:
    """Names of the sets that are generated here: neither published nor a user's own files."""
    others = {*published(), "rmd17", "md17", "mlearn", "extxyz", "ase_db"}
    return [path.stem for path in sorted((CONF / "data").glob("*.yaml")) if path.stem not in others]


def info(name: str, overrides: Sequence[str], out: Path, seeds: int, test_frames: int) -> None:
    """Print the summary of a dataset; write `card.png` and, for frames of one molecule, `distances.parquet` to `out`.

    Distances are measured from `test_frames` test frames to the training subsets of `seeds` seeds.
    """
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


def ladder(name: str, overrides: Sequence[str], sizes: Sequence[int], seeds: Sequence[int], out: Path) -> None:
    """Write the training subsets of a dataset for networks of other packages (`experiments.data.handout`)."""
    files.writable(out, "--out")
    dataset = load(section_of(name, overrides))
    if not dataset.pool.has_forces:
        raise InputError(f"{name}: has no forces; accepted: frames with energies and forces")
    written = write_subsets(dataset, sizes, seeds, out)
    print(f"{out}: {len(sizes) * len(seeds)} subsets of {dataset.name}, {len(written)} files")
    print(f"train on each, write its test error into {written[-1]} and fit:")
    print(f"  python -m analysis fit --table {shlex.quote(str(written[-1]))}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return exit code 0 (done) or 2 (bad input, named in one line on stderr)."""
    command.show_warnings()
    command.draw_without_screen()
    parser = command.Parser(prog="python -m experiments.data", description="The datasets of this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name all datasets, and say which are on this machine")
    fetching = commands.add_parser("fetch", help="download published datasets that are missing, make generated ones")
    fetching.add_argument("names", nargs="+", metavar="NAME", help="as in data=NAME; data.KEY=VALUE for generated sets")
    fetching.add_argument(
        "--from", type=command.path, dest="source", metavar="DIR", help="copy published files from there"
    )
    asking = commands.add_parser("info", help="print a summary of a dataset; write its plots and distances")
    asking.add_argument("name", metavar="NAME", help="as in data=NAME")
    asking.add_argument("overrides", nargs="*", metavar="data.KEY=VALUE")
    asking.add_argument(
        "--out", type=command.path, metavar="DIR", help="folder for card.png and distances.parquet (default info/NAME)"
    )
    asking.add_argument("--seeds", type=int, default=3, metavar="N", help="training subsets to measure (default 3)")
    asking.add_argument(
        "--test-frames", type=int, default=TEST_FRAMES, metavar="N", help=f"test frames to use (default {TEST_FRAMES})"
    )
    handing = commands.add_parser("ladder", help="write training subsets and a table to fill, for other packages")
    handing.add_argument("name", metavar="NAME", help="as in data=NAME")
    handing.add_argument("overrides", nargs="*", metavar="data.KEY=VALUE")
    handing.add_argument("--P", type=_integers(1), required=True, metavar="N,…", help="training-set sizes")
    handing.add_argument(
        "--seeds", type=_integers(0), default=[0, 1, 2], metavar="S,…", help="of subsets (default 0,1,2)"
    )
    handing.add_argument("--out", type=command.path, required=True, metavar="DIR", help="folder for the files")
    given, rest = parser.parse_known_args(arguments)
    if given.command not in ("info", "ladder") or any(word.startswith("-") for word in rest):
        parser.parse_args(arguments)  # parse_known_args is for overrides between options; any other rest is an error
    else:
        given.overrides += rest
    return command.run(_answer, given)


def _integers(least: int) -> Callable[[str], list[int]]:
    """Return an argument's type: distinct integers ≥ `least`, ascending, separated by commas."""
    read = command.integer_from(least)
    return lambda text: sorted({read(part) for part in text.split(",")})


def _answer(given: argparse.Namespace) -> None:
    if given.command == "list":
        show_list()
    elif given.command == "fetch":
        fetch(given.names, given.source)
    elif given.command == "ladder":
        ladder(given.name, given.overrides, given.P, given.seeds, given.out)
    else:
        for option, least in (("seeds", 1), ("test_frames", 2)):
            if getattr(given, option) < least:
                raise InputError(
                    f"--{option.replace('_', '-')} {getattr(given, option)}: accepted: an integer ≥ {least}"
                )
        info(given.name, given.overrides, given.out or Path("info") / given.name, given.seeds, given.test_frames)


if __name__ == "__main__":
    sys.exit(main())
