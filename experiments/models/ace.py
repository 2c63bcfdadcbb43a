"""The settings of `model=ace`, which is fitted in closed form by `experiments.regression.ace`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.errors import InputError
from experiments.core.schema import setting
from experiments.models.contract import Architecture, Lacks, fitted


@dataclass(frozen=True)
class AceConfig(Architecture):
    """Linear ACE, Drautz 2019 (doi 10.1103/PhysRevB.99.014104), up to a total degree as in Kovács et al. 2021 (doi
    10.1021/acs.jctc.1c00647), fitted in closed form. `nu` is 3 unless it is given."""

    architecture: ClassVar[str] = "ace"
    label: ClassVar[str] = "linear ACE"
    closed_form: ClassVar[bool] = True
    group: ClassVar[str] = "E(3)"
    lacks: ClassVar[Lacks] = {"L": 0}

    nu: int = setting(3, low=1, high=4)
    edge_lmax: int = setting(6, low=0, high=8)
    n_radial: int = setting(12, low=1, high=32)
    degree: tuple[int, ...] | None = setting((12, 12, 10, 8), low=0, high=64, since=2)
    """Highest total degree, Σ(n−1) + Σl over the factors, of products of one, two, … factors, a number for each; null:
    every n and l in products of up to two factors, and Σ(n−1) < n_radial/2 in those of more (edge_lmax=3, n_radial=8,
    smoothness=0, stretch=null: the basis of earlier releases)."""
    smoothness: float = setting(1.0, low=0.0, high=8.0, since=2)
    """Power p of the smoothness prior: columns are multiplied by (1 + Σ(n−1)² + Σl²)^(−p/2); 0: none."""
    cutoff: float = setting(5.0, above=0.0, high=50.0)
    """Cutoff radius in Å."""
    stretch: float | None = setting(2.0, low=0.1, high=50.0, since=2)
    """Length s in Å of a logarithmic distance transform, ln(1 + r/s), of which radial functions are waves: they resolve
    bonds more finely than distances near the cutoff, the more so the smaller s; null: waves of r."""
    energy_weight: float | None = setting(None, low=0.0)
    """Weight of the energy per atom, in units of the force RMS × 1 Å, beside forces; null: a third of each frame's
    number of atoms, with which an energy counts as much as one force component."""
    force_weight: float = setting(1.0, low=0.0)

    def __post_init__(self) -> None:
        if self.degree is not None and len(self.degree) < self.nu:
            raise InputError(
                f"model.degree={list(self.degree)}: accepted: null or {self.nu} numbers for nu={self.nu}, one for "
                "products of one, two, … factors"
            )


CONFIG = AceConfig
build = fitted("experiments.regression.ace", "Ace")
