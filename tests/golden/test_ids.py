"""No run is renamed by accident: the lists of `tests.golden.ids` against the program as it is.

A run's name is its directory. Where names change without need, every store of finished runs is orphaned; where they
stay though the numbers change, old numbers are taken for new ones. So:

- A new key, or a new value that computes the same, leaves all names as they are (a setting says `since=2`: it enters
  the identity only where it differs from its default; settings of data too, or their stand-ins here change).
- A default that computes something else renames the runs that use it: its value is in their identity. Of a setting of
  `since=2` it is not, so there a number is raised as in the next case.
- Other numbers from the same configuration: raise its family's number in `experiments.config.run.NUMERICS_RAISED`.
- A sweep changed on purpose has other runs.

For the last three, `python -m tests.golden.ids` writes the lists again; the same commit holds them and says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import pytest

from experiments.config.training import TrainingConfig
from experiments.core.kinds import KINDS
from experiments.data.load import config_of
from experiments.models.registry import MODELS
from tests.golden.ids import COLUMNS, HERE, LISTS, line, path_of, planned

LEFT_OUT = {
    "augment=False", "copies=1", "degree=(12, 12, 10, 8)", "density=1.0", "first_residual=False", "hidden=None",
    "hydrogen_mass=None", "instance_norm=False", "late_energy_weight=None", "method='GFN2-xTB'", "smoothness=1.0",
    "species_scales=False", "stop='budget'", "stretch=2.0", "tf32=False",
}  # fmt: skip
"""Settings that are no part of a name while they have these values: those that compute as before there were they."""


def difference(kept: Sequence[str], found: Sequence[str], shown: int = 5) -> str:
    """What a list and the program differ in, for people; nothing where they are the same."""
    if list(kept) == list(found):
        return ""
    gone, new = ([one for one in a if one not in b] for a, b in ((kept, frozenset(found)), (found, frozenset(kept))))
    if not gone and not new:
        return f"the same lines in another order or number ({len(found)}, not {len(kept)})"
    text = [f"{len(gone)} of {len(kept)} lines are gone and {len(new)} are new; the first of them"]
    for sign, lines in (("-", gone), ("+", new)):
        text += [f"{sign} {one}" for one in lines[:shown]]
    return "\n".join(text)


@pytest.mark.parametrize("name", LISTS)
def test_runs_keep_their_names(name: str) -> None:
    path = path_of(name)
    kept = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = difference(kept, [",".join(COLUMNS), *map(line, planned(name))])
    assert not found, f"{path.name}: {found}\n\n{__doc__}"


def test_what_a_name_leaves_out_keeps_its_default() -> None:
    """Another default would give old names to other numbers, and no list would tell. A new setting is added here."""
    classes = [*MODELS.values(), TrainingConfig, *map(config_of, KINDS)]
    settings = [f for cls in classes for f in fields(cls)]
    assert {f"{f.name}={f.default!r}" for f in settings if f.metadata.get("since", 1) > 1} == LEFT_OUT, __doc__


def test_a_list_without_a_sweep_is_no_list() -> None:
    assert {path.stem for path in HERE.glob("*.csv")} == set(LISTS)


def test_a_difference_names_the_first_lines() -> None:
    kept = [f"{n},mace" for n in range(9)]
    assert difference(kept, kept) == ""
    assert difference(kept, kept[::-1]) == "the same lines in another order or number (9, not 9)"
    assert difference(kept, [*kept[:7], "x,mace", kept[8]]) == (
        "1 of 9 lines are gone and 1 are new; the first of them\n- 7,mace\n+ x,mace"
    )
