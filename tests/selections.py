"""Which tests are slow: a list made of measured times, so that a test that nobody listed is in the quick loop.

`make selections` runs every test but the fault campaigns, records what each cost, and rewrites tests/selections.txt:

    slow   over SLOW seconds in all its cases together: left out of `make quick`
    long   over LONG seconds in one case: run by `make test-long` only

A test whose cost a machine may be unable to measure is marked without the list: in its file if it needs a browser or
builds an environment, by its fixture `cluster` if it needs a real Slurm (tests/conftest.py).
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

LIST = Path(__file__).with_name("selections.txt")
SLOW = 1.0
LONG = 60.0
WAITING = 0.1
"""Share of the elapsed time that counts for a test that waits instead of computing: the machine may be busy."""
HEAD = "# Written by `make selections` (tests/selections.py). Tests that are not here are in `make quick`.\n"


class Clock:
    """Seconds that a test has cost since the clock was made."""

    def __init__(self) -> None:
        self._began = self._now()

    def cost(self) -> float:
        """CPU seconds of this process and its ended children, or `WAITING` of the elapsed time if that is more."""
        cpu, elapsed = (now - before for now, before in zip(self._now(), self._began, strict=True))
        return max(cpu, WAITING * elapsed)

    @staticmethod
    def _now() -> tuple[float, float]:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used), time.monotonic()


def function(node: str) -> str:
    """The test function of a test's name, without the case: `tests/a.py::test_b[c]` → `tests/a.py::test_b`."""
    return node.partition("[")[0]


def listed(path: Path = LIST) -> dict[str, str]:
    """Return the marker (`slow` or `long`) of every test function that has one in the list."""
    lines = [line.split() for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {name: marker for marker, name in lines}


def markers(costs: Iterable[tuple[str, float]], before: Mapping[str, str]) -> dict[str, str]:
    """Return the markers that measured costs (test with case, seconds) call for.

    A function that was not measured keeps its marker, and so does one that is cheap only because the fixture it
    shares was paid by another: whoever runs first pays. Delete its line, or the file, to have it judged anew.
    """
    total: dict[str, float] = {}
    most: dict[str, float] = {}
    for node, seconds in costs:
        name = function(node)
        total[name] = total.get(name, 0.0) + seconds
        most[name] = max(most.get(name, 0.0), seconds)
    slow = {name: "long" if most[name] > LONG else "slow" for name, seconds in total.items() if seconds > SLOW}
    return {**before, **slow}


def exists(name: str, root: Path) -> bool:
    """Whether the repository at `root` has the test: its function, or its class, which may inherit the function."""
    path, first, *_ = name.split("::")
    file = root / path
    return (
        file.is_file() and re.search(rf"^((def|class) {first}\b|{first} =)", file.read_text(), re.MULTILINE) is not None
    )


def main(arguments: list[str]) -> None:
    """Rewrite the list with the costs in the file named by the one argument (`pytest --record-costs FILE`)."""
    (path,) = arguments
    costs = [json.loads(line) for line in Path(path).read_text().splitlines()]
    before = {name: marker for name, marker in listed().items() if exists(name, LIST.parent.parent)}
    chosen = markers(costs, before)
    LIST.write_text(HEAD + "".join(f"{chosen[name]} {name}\n" for name in sorted(chosen)))


if __name__ == "__main__":
    main(sys.argv[1:])
