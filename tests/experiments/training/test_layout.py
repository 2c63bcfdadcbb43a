"""Parameters as one vector and back, whatever their shapes."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from experiments.training.layout import Layout

SHAPES = st.dictionaries(
    st.text("abcdef.", min_size=1, max_size=5), st.lists(st.integers(1, 4), max_size=4).map(torch.Size), min_size=1
)


def drawn(shapes: dict[str, torch.Size], p: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn((p, *shape), generator=generator) for name, shape in shapes.items()}


@given(SHAPES, st.integers(1, 3))
def test_round_trip(shapes: dict[str, torch.Size], p: int) -> None:
    layout, params = Layout(shapes), drawn(shapes, p)
    flat = layout.flat(params)
    assert flat.shape == (p, layout.size) == (p, sum(map(math.prod, shapes.values())))
    back = layout.named(flat)
    assert back.keys() == params.keys()
    assert all(torch.equal(back[name], params[name]) for name in params)


@given(SHAPES)
def test_place_does_not_depend_on_the_order_of_the_names(shapes: dict[str, torch.Size]) -> None:
    names = sorted(shapes, reverse=True)
    assert Layout({name: shapes[name] for name in names}).places == Layout(shapes).places


@given(SHAPES)
def test_blocks_hold_every_number_once_and_matrices_whole(shapes: dict[str, torch.Size]) -> None:
    layout, params = Layout(shapes), drawn(shapes, 2)
    flat = layout.flat(params)
    assert torch.equal(torch.cat([block.of(flat).flatten(1) for block in layout.blocks], 1), flat)
    assert len({block.name for block in layout.blocks}) == len(layout.blocks)
    matrices = {tuple(m.flatten().tolist()) for b in layout.blocks for m in b.of(flat)[0]}
    for name, shape in shapes.items():
        rows = params[name][0].reshape(-1, math.prod(shape[-2:]) if len(shape) > 1 else math.prod(shape))
        assert all(tuple(row.tolist()) in matrices for row in rows), name
