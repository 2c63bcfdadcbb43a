"""Sweeps as unions of grids."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from experiments.core.errors import InputError
from slurm.grid import expand


def values(point: list[str]) -> dict[str, Any]:
    """The configuration that Hydra composes for a point."""
    parsed = OverridesParser.create().parse_overrides(point)
    return {o.key_or_group: o.value() for o in parsed}


def test_no_grid_is_the_product_of_the_command_line() -> None:
    points = expand(["P=16,32", "L=0,1", "nu=3"], [])
    assert points == [
        ["P=16", "L=0", "nu=3"], ["P=16", "L=1", "nu=3"], ["P=32", "L=0", "nu=3"], ["P=32", "L=1", "nu=3"],
    ]  # fmt: skip
    assert expand([], []) == [[]]


def test_union_in_order_and_each_point_once() -> None:
    grids: list[dict[str, Any]] = [{"P": [1, 2], "nu": 1}, {"P": [2, 3], "nu": 1}]
    assert expand([], grids) == [["P=1", "nu=1"], ["P=2", "nu=1"], ["P=3", "nu=1"]]


def test_the_command_line_replaces_a_grids_choices() -> None:
    grids: list[dict[str, Any]] = [{"P": [1, 2, 3], "cell": ["A", "B"]}, {"P": 7, "model": "ace"}]
    assert expand(["P=5,6"], grids) == [
        ["cell=A", "P=5"], ["cell=A", "P=6"], ["cell=B", "P=5"], ["cell=B", "P=6"], ["model=ace", "P=5"],
        ["model=ace", "P=6"],
    ]  # fmt: skip
    assert expand(["P=5"], [{"P": [1, 2]}, {"P": [3]}]) == [["P=5"]]


def test_hydras_own_keys_go_to_every_point_and_are_not_swept() -> None:
    points = expand(["hydra.launcher.workers=2", "P=1,2"], [])
    assert points == [["hydra.launcher.workers=2", "P=1"], ["hydra.launcher.workers=2", "P=2"]]


def test_null_in_a_list_is_null() -> None:
    assert [values(p) for p in expand([], [{"L": [None, 1], "nu": None}])] == [
        {"L": None, "nu": None}, {"L": 1, "nu": None},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ({"a": [0.1, 1e-5]}, [{"a": 0.1}, {"a": 1e-5}]),
        ({"a": [True, False]}, [{"a": True}, {"a": False}]),
        ({"a": [[1.0, 2.0], [3.0]]}, [{"a": [1.0, 2.0]}, {"a": [3.0]}]),
        ({"a": "[1,2]"}, [{"a": [1, 2]}]),
        ({"a": "1,2"}, [{"a": 1}, {"a": 2}]),
        ({"a": "range(1,4)"}, [{"a": 1}, {"a": 2}, {"a": 3}]),
        ({"a": "'x, y'"}, [{"a": "x, y"}]),
        ({"a": "dir/file-1.xyz"}, [{"a": "dir/file-1.xyz"}]),
    ],
    ids=str,
)
def test_values_arrive_as_they_were_written(grid: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    assert [values(p) for p in expand([], [grid])] == expected
    from_yaml = OmegaConf.create({"grids": [grid]}).grids  # as Hydra hands it to the sweeper
    assert [values(p) for p in expand([], from_yaml)] == expected


def seeds_by_size(points: list[list[str]]) -> dict[int, list[int]]:
    """The seeds of every P."""
    found: dict[int, list[int]] = {}
    for point in map(values, points):
        found.setdefault(point["P"], []).append(point["seed"])
    return found


@pytest.mark.parametrize("quoted", [False, True])
def test_more_seeds_where_the_variance_is(quoted: bool) -> None:
    """From the command line, from a grid's text and from its list; other keys vary as ever."""
    text = "8..16:0..3,32:1,64..128:0..1"
    expected = {8: [0, 1, 2, 3], 16: [0, 1, 2, 3], 32: [1], 64: [0, 1], 128: [0, 1]}
    given = f"seed='{text}'" if quoted else f"seed={text}"
    assert seeds_by_size(expand(["P=8,16,32,64,128", given], [])) == expected
    for own in (text, text.split(",")):
        grid = {"L": [0, 1], "P": [8, 16, 32, 64, 128], "seed": own}
        points = [values(point) for point in expand([], [grid])]
        for L in (0, 1):
            assert [(p["P"], p["seed"]) for p in points if p["L"] == L] == [
                (P, s) for P in expected for s in expected[P]
            ]
    assert seeds_by_size(expand(["P=8,32", "seed=8..64:0,8:5..6"], [])) == {8: [0, 5, 6], 32: [0]}
    assert seeds_by_size(expand(["P=8,32", "seed=0..2"], [])) == {8: [0, 1, 2], 32: [0, 1, 2]}
    assert [values(p)["seed"] for p in expand(["seed=0..2"], [])] == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["P=8,64", "seed=8..32:0..3"], r"seed=8\.\.32:0\.\.3: no seed for P=64; accepted: a part for every P"),
        (["P=8", "seed=8:a..b"], "seed=8:a..b: accepted: parts like 8:0"),
        (["P=8", "seed=8:3..0"], "no seed for P=8"),
        (["seed=8:0..3"], "seed=8:0..3: gives seeds by P; accepted: beside P="),
    ],
)
def test_bad_seeds_by_size(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        expand(arguments, [])


SIZES = st.dictionaries(
    st.sampled_from(["P", "L", "nu"]), st.sets(st.integers(0, 99), min_size=1, max_size=3).map(list)
)


@settings(max_examples=30)
@given(SIZES)
def test_product(grid: dict[str, list[int]]) -> None:
    expected = [[f"{key}={v}" for key, v in zip(grid, c, strict=True)] for c in itertools.product(*grid.values())]
    assert expand([], [grid]) == expected


def test_an_empty_choice_is_refused() -> None:
    with pytest.raises(InputError, match=r"P=\[\] in a grid: nothing to choose from; accepted: one value or more"):
        expand([], [{"P": []}])


def test_deleting_is_refused() -> None:
    with pytest.raises(InputError, match=r"~P: a sweep cannot delete a key; accepted: key=value"):
        expand(["~P"], [])


@pytest.mark.parametrize("words", [["P=range(1,1000000000)"], ["P=range(1,2000)", "seed=range(0,2000)"]])
def test_sweeps_that_nobody_means_are_refused_at_once(words: list[str]) -> None:
    with pytest.raises(InputError, match="accepted: at most 1000000"):
        expand(words, [])
