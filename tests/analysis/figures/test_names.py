"""Names of datasets and models in figures."""

from __future__ import annotations

import pytest

from analysis.spelling import dataset_name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("rmd17_ethanol_train", "Ethanol, PBE (rMD17)"),
        ("acac_300K", "Acetylacetone, PBE + D3, 300 K"),
        ("ethanol_pbe", "Ethanol, PBE"),
        ("mlearn_si", "Si, PBE (mlearn)"),
        ("xtb_methanol_500K", "Methanol, GFN2-xTB, 500 K"),
        ("my_frames@1a2b", "my frames@1a2b"),
    ],
)
def test_datasets_have_the_names_of_the_field(name: str, shown: str) -> None:
    assert dataset_name(name) == shown
