"""The plan of the house: a room imports only rooms below it, no circle between files, no base name twice.

Imports inside functions count as those at the top do: a circle that is put off until a call is a circle all the same.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = (
    "experiments.core", "experiments.nn", "experiments.data", "experiments.tasks", "experiments.models",
    "experiments.config", "experiments.regression", "experiments.training", "experiments.runs", "experiments.interop",
    "experiments.__main__",
    "slurm.cluster", "slurm", "slurm.jobs", "slurm.launcher", "slurm.cli", "slurm.__main__",
    "hydra_plugins",
    "analysis", "analysis.fits", "analysis.comparisons", "analysis.bounds", "analysis.calibration", "analysis.figures",
    "analysis.report", "analysis.notebook", "analysis.commands", "analysis.cli", "analysis.__main__",
    "benchmarks",
)  # fmt: skip
"""From the ground up: packages, and modules that lie in a package and above its sub-packages. A module belongs to the
longest name here that its own begins with; files of `experiments` lie in a room each. What besides this the analysis
must not know is in test_imports.py."""


FACADES = ("analysis",)
"""Packages whose own file offers what lies at the top of the house, imported when it is first asked for."""


def modules(root: Path, packages: Sequence[str]) -> dict[str, Path]:
    """Map the dotted name of every module of these packages to its file."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yield the modules of ours that a file imports anywhere in it (a package for a name of its own)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in known or node.module in known:
                    yield full if full in known else node.module


def room_of(module: str, rooms: Sequence[str]) -> str | None:
    """Return the room that a module lies in; None: in none."""
    return max((room for room in rooms if f"{module}.".startswith(f"{room}.")), key=len, default=None)


def upward(root: Path, rooms: Sequence[str]) -> list[str]:
    """Return a line for each module in no room, and for each import of a room above the importing one."""
    known = modules(root, sorted({room.partition(".")[0] for room in rooms}))
    wrong = [f"{name} is in no room" for name in known if "." in name and room_of(name, rooms) is None]
    for name, path in known.items():
        own = room_of(name, rooms)
        for target in imported(path, known):
            other = room_of(target, rooms)
            if name not in FACADES and own is not None and other is not None and rooms.index(other) > rooms.index(own):
                wrong.append(f"{name} imports {target}")
    return wrong


def circle(root: Path, packages: Sequence[str]) -> list[str]:
    """Return the modules of a circle of imports, the first of them again at the end; none where there is no circle."""
    known = modules(root, packages)
    graph = {name: set(imported(path, known)) - {name} for name, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def doubles(root: Path, package: str) -> dict[str, list[str]]:
    """Map each base name that several modules of a package share to these modules.

    A file of `experiments.models` declares an architecture (its settings, its name), and the network or the method of
    that name may be in a file of the same name elsewhere; neither counts.
    """
    found = defaultdict(list)
    for name, path in modules(root, [package]).items():
        if not path.stem.startswith("__"):
            found[path.stem].append(name)
    return {
        base: names for base, names in found.items() if len(names) > 1 and f"experiments.models.{base}" not in names
    }


PACKAGES = sorted({room.partition(".")[0] for room in ROOMS})


def test_rooms_exist() -> None:
    known = modules(ROOT, PACKAGES)
    assert [room for room in ROOMS if room not in known and room != "hydra_plugins"] == []


def test_a_room_imports_only_rooms_below_it() -> None:
    assert upward(ROOT, ROOMS) == []


def test_no_circle_between_files() -> None:
    assert circle(ROOT, PACKAGES) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_base_name_twice_in_a_package(package: str) -> None:
    """`grep -r table.py` finds one file."""
    assert doubles(ROOT, package) == {}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Two rooms: `house.cellar` below `house.hall`, each with a module."""
    for folder in ("house", "house/cellar", "house/hall"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("")
    (tmp_path / "house/cellar/coal.py").write_text("import os\n\nHEAP = 1\n")
    (tmp_path / "house/hall/fire.py").write_text("from house.cellar.coal import HEAP\n")
    return tmp_path


PLAN = ("house.cellar", "house.hall")


def test_a_house_in_order_has_nothing_wrong(house: Path) -> None:
    assert upward(house, PLAN) == []
    assert circle(house, ["house"]) == []
    assert doubles(house, "house") == {}


@pytest.mark.parametrize("text", [
    "from house.hall.fire import HEAP", "from house.hall import fire", "import house.hall.fire",
    "def late():\n    from house.hall import fire\n", "import house.hall",
])  # fmt: skip
def test_an_import_of_a_room_above_is_found(house: Path, text: str) -> None:
    (house / "house/cellar/rat.py").write_text(text + "\n")
    (line,) = upward(house, PLAN)
    assert line.startswith("house.cellar.rat imports house.hall")


def test_a_module_in_no_room_is_found(house: Path) -> None:
    (house / "house/shed.py").write_text("")
    assert upward(house, PLAN) == ["house.shed is in no room"]


def test_a_circle_within_a_room_is_found(house: Path) -> None:
    (house / "house/hall/door.py").write_text("def open():\n    from house.hall import wall\n")
    (house / "house/hall/wall.py").write_text("from house.hall.door import open\n")
    found = circle(house, ["house"])
    assert set(found) == {"house.hall.door", "house.hall.wall"}
    assert found[0] == found[-1]


def test_a_base_name_twice_is_found(house: Path) -> None:
    (house / "house/hall/coal.py").write_text("")
    assert doubles(house, "house") == {"coal": ["house.cellar.coal", "house.hall.coal"]}
