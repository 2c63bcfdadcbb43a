"""Names of architectures, datasets, metrics and units as the field writes them, in text, tables and figures."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

from experiments.core import plugins
from experiments.core.paths import ROOT

_MODELS = ROOT / "experiments" / "models"
LINEARISED = "ntk-"
"""What precedes the name of a network that is linearised around its initial weights (its neural tangent kernel)."""


def display_name(text: str) -> str:
    """Return the name of an architecture as the field writes it (the `label` in its file); other texts as they are."""
    linearised, plain = text.startswith(LINEARISED), text.removeprefix(LINEARISED)
    return ("linearised " if linearised else "") + _labels(plugins.folders()).get(plain, plain)


_DATASETS = (
    (r"rmd17_(\w+?)(?:_train)?", "{}, PBE (rMD17)"),
    (r"md17_(\w+?)(?:_train)?", "{}, PBE + vdW (MD17)"),
    (r"ethanol_pbe", "ethanol, PBE"),
    (r"ethanol_small", "ethanol, GFN2-xTB"),
    (r"acac(?:_(\d+)K)?", "acetylacetone, PBE + D3, {} K"),
    (r"3bpa(?:_(\d+)K)?", "3BPA, ωB97X, {} K"),
    (r"mlearn_([a-z]{1,2})", "{}, PBE (mlearn)"),
    (r"xtb_(\w+)_(\d+)K", "{}, GFN2-xTB, {} K"),
    (r"qm9(?:_\w+)?", "QM9"),
)
"""Names of published sets in tables, and what the field calls them; braces stand for the bracketed parts."""


def dataset_name(text: str) -> str:
    """Return the name of a dataset as the field writes it, `Ethanol, PBE (rMD17)`; of others their own in words."""
    return _published(text) or text.replace("_", " ")


def dataset_words(text: str) -> str:
    """Return the name of a published dataset as the field writes it, and any other as it stands in the table."""
    return _published(text) or text


def test_set_words(text: str) -> str:
    """Return the name of a test set in words: `MD 600K`."""
    return text.replace("_", " ")


FACTOR_WORDS = {
    "L": "L={}",
    "nu": "ν={}",
    "edge_lmax": "edge {}",
    "channels": "{} channels",
    "n_layers": "{} layers",
    "cutoff": "cutoff {} Å",
    "group": "{}",
}
"""How columns that describe a model are written with their values."""


def value_words(column: str, value: object) -> str:
    """Return the value of a column in words: `2 layers`, `cutoff 5 Å`; a test set's name and others as they are."""
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return test_set_words(shown) if column == "test_set" else FACTOR_WORDS.get(column, "{}").format(shown)


def place_words(place: Mapping[str, object]) -> list[str]:
    """Return what networks that are compared share, a text for each column: `test set MD`, `2 layers`, `decay=0.1`."""
    signs = {"test_set": "test set ", **dict.fromkeys(FACTOR_WORDS, "")}
    return [
        f"{signs.get(name, name.rpartition('.')[2] + '=')}{value_words(name, value)}" for name, value in place.items()
    ]


def _published(text: str) -> str:
    for pattern, words in _DATASETS:
        if found := re.fullmatch(pattern, text):
            parts = ((part or "").replace("_", " ") for part in found.groups())
            named = words.format(*parts).removesuffix(",  K")
            return named[:1].upper() + named[1:]
    return ""


METRIC_NAMES = {
    "force_mae": "Force MAE",
    "force_rmse": "Force RMSE",
    "energy_mae": "Energy MAE per atom",
    "energy_rmse": "Energy RMSE per atom",
    "error_rate": "Error rate",
    "cross_entropy": "Cross-entropy",
}
"""Names of metrics on axes and in headings."""


def metric_name(text: str) -> str:
    """Return the name of a metric on axes and in headings, `Force MAE`; of others their own."""
    return METRIC_NAMES.get(text, text)


def metric_words(text: str) -> str:
    """Return the name of a metric in a sentence, `force MAE`; of others their own."""
    name = METRIC_NAMES.get(text, "")
    return name[:1].lower() + name[1:] or text


@functools.cache
def _labels(users: tuple[Path, ...]) -> dict[str, str]:
    found = plugins.declarations(
        plugins.own(_MODELS, "experiments.models", "architecture"), "architecture", users, "models"
    )
    return {name: str(one.attributes.get("label", name)) for name, one in found.items()}


def display_unit(unit: str) -> tuple[str, float]:
    """Return the unit used on axes and the factor into it: eV becomes meV, other units stay."""
    plain = unit.replace("/A", "/Å") if unit.endswith("/A") else unit
    if plain.startswith("eV"):
        return "m" + plain, 1000.0
    return plain, 1.0
