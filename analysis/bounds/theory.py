"""Statements of theory about exponents: each with its quantity, loss, direction, source and evidence.

β is always the exponent of an error that falls as P^(−β). An upper bound on the error is a *lower* bound on β.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class Evidence(StrEnum):
    """Origin of a number; printed beside it."""

    READ = "R"
    """Read in the source."""
    SECOND_HAND = "R2"
    """Read in a text about the source."""
    MEMORY = "M"
    """From memory, not yet checked against the source."""
    DERIVED = "D"
    """Derived in this project's notes."""


class Direction(StrEnum):
    """Kind of statement about β."""

    AT_LEAST = "at least"
    """An upper bound on the error: β is at least this large, asymptotically, with an unspecified constant."""
    LAW = "law"
    """An asymptotic law for one setting, not a bound."""
    BEST_WORST_CASE = "best worst case"
    """Minimax: no estimator does better on every member of the class; a given target may be easier."""
    OBSERVED = "observed"
    """An empirical value or range."""


@dataclass(frozen=True)
class Statement:
    """One number of theory (or of an empirical survey) to set beside a measured β."""

    name: str
    """Short name."""
    beta: float
    """Exponent."""
    direction: Direction
    """Kind of statement about β."""
    quantity: str
    """Quantity that it bounds or describes."""
    losses: frozenset[str]
    """Metrics that it applies to; empty for any."""
    source: str
    """Paper and place."""
    evidence: tuple[Evidence, ...]
    """How the exponent is known."""
    assumption: str
    """Assumption under which it applies."""
    constant: str = "unspecified"
    """The constant in front, as far as it is known."""
    beta_high: float = math.nan
    """Upper end for a range."""

    @property
    def tags(self) -> str:
        """Evidence as it is printed: `[D][M]`."""
        return "".join(f"[{tag}]" for tag in self.evidence)


LIPSCHITZ_LOSSES = frozenset({"energy_mae", "mae", "l1"})
"""Metrics that are mean Lipschitz losses of the predicted function. A Lipschitz energy bounds no force."""
SQUARED_LOSSES = frozenset({"energy_rmse", "rmse"})
"""Roots of mean squared errors of the predicted function."""


def bach_exponent(form: str, d: float, s: float = 1, alpha: float = 1) -> float:
    """Return the exponent of Bach's bound for a functional form (Bach 2017, Table 1).

    Args:
        form: `lipschitz`, `affine`, `network`, `additive` or `subspaces`.
        d: dimension of the input.
        s: dimension of the subspaces.
        alpha: homogeneity of the activation (1: ReLU, 0: threshold); the general 1/(2α + d + 1) balances the
            estimation error δ/√n of the variation-norm ball with the approximation error δ^(−1/(α + (d−1)/2)).

    Raises ValueError for an unknown form.
    """
    exponents = {
        "lipschitz": 1 / (2 * alpha + d + 1),
        "affine": 0.5,
        "network": 0.5,
        "additive": 1 / (2 * alpha + 2),
        "subspaces": 1 / (2 * alpha + s + 1),
    }
    if form not in exponents:
        raise ValueError(f"bach_exponent: no form {form!r}; choose one of {', '.join(exponents)}")
    return exponents[form]


_BACH = {
    "lipschitz": ("Lipschitz, nothing else", "C(d)·log P, C(d) unspecified"),
    "affine": ("affine", "√d"),
    "network": ("one hidden layer of k ReLU units", "k·√d"),
    "additive": ("sum of k ridge functions", "k·√d·log P"),
    "subspaces": ("sum of k functions on s-dimensional subspaces", "k·√d·C(s)·log P, C(s) unspecified"),
}


def bach(d: float, s: float, k: float) -> list[Statement]:
    """Return all rows of Bach's table (JMLR 18(19), 2017): expected excess risk of the ideal convex network.

    Args:
        d: dimension of the input.
        s: dimension of the subspaces.
        k: number of terms in the sums.
    """
    return [
        Statement(
            name=f"Bach: {text}",
            beta=bach_exponent(form, d, s),
            direction=Direction.AT_LEAST,
            quantity="expected excess risk over the best predictor of the class",
            losses=LIPSCHITZ_LOSSES,
            source="Bach 2017, JMLR 18(19), Table 1",
            evidence=(Evidence.READ,),
            assumption=f"target is {text} (d = {d:g}, s = {s:g}, k = {k:g}); global optimum of the convex problem",
            constant=constant,
        )
        for form, (text, constant) in _BACH.items()
    ]


def luxburg_bound(d: int, p: float, lipschitz: float = 1.0) -> float:
    """Bound the Rademacher complexity of Lipschitz functions on [0, 1]^d at P = p.

    Von Luxburg & Bousquet 2004, JMLR 5, Theorem 18.

    d ≥ 3: Lip·8·(d/(d−2))·√d·(ln2/2)^(1/d)·p^(−1/d), the leading term, valid for p ≫ 2^d only. For d = 1 and 2 the
    entropy integral 2ε + (4√2/√p)·∫_{ε/4}^{2√d} √((√d/u)^d·ln 2) du is evaluated at ε = p^(−1/2).
    """
    if d >= 3:
        return float(lipschitz * 8 * d / (d - 2) * math.sqrt(d) * (math.log(2) / 2) ** (1 / d) * p ** (-1 / d))
    scale = 4 * math.sqrt(2 * math.log(2) / p)
    low, high, epsilon = p**-0.5 / 4, 2 * math.sqrt(d), p**-0.5
    integral = 2 * (math.sqrt(high) - math.sqrt(low)) if d == 1 else math.sqrt(2) * math.log(high / low)
    return float(lipschitz * (2 * epsilon + scale * integral))


def luxburg(d: float) -> Statement:
    """Return the exponent of the uniform generalisation gap of Lipschitz functions in dimension d.

    It is 1/2 for d ≤ 2 (with log P at d = 2) and 1/d beyond (von Luxburg & Bousquet 2004, JMLR 5, Theorems 17, 18 and
    Examples 4, 5, where d ≥ 2; d = 1 and the constants are derived here).
    """
    return Statement(
        name="von Luxburg–Bousquet: Lipschitz ball",
        beta=0.5 if d <= 2 else 1 / d,
        direction=Direction.AT_LEAST,
        quantity="uniform gap between true and empirical risk (a classification paper: margin loss)",
        losses=LIPSCHITZ_LOSSES,
        source="von Luxburg & Bousquet 2004, JMLR 5, Theorems 17, 18; Examples 4, 5",
        evidence=(Evidence.READ,) if d >= 2 else (Evidence.DERIVED,),
        assumption=f"target Lipschitz on a set of dimension {d:g}; training error zero",
        constant="8·(d/(d−2))·√d·(ln2/2)^(1/d)·Lip for d ≥ 3 and P ≫ 2^d [D]" if d > 2 else "entropy integral [D]",
    )


def luxburg_exact(d: float) -> Statement:
    """Return the exact rate of the maximum discrepancy of Lipschitz functions on the cube [0, 1]^d.

    c_d·P^(−1/d) for d ≥ 3 and c_2·√(ln P)·P^(−1/2) for d = 2 (von Luxburg & Bousquet 2004, Theorem 15): the rate of the
    bound above cannot be improved for the whole class, which says nothing about a single target.
    """
    return Statement(
        name="von Luxburg–Bousquet: rate cannot be improved",
        beta=0.5 if d <= 2 else 1 / d,
        direction=Direction.BEST_WORST_CASE,
        quantity="maximum discrepancy of the Lipschitz ball on a cube",
        losses=LIPSCHITZ_LOSSES,
        source="von Luxburg & Bousquet 2004, JMLR 5, Theorem 15",
        evidence=(Evidence.READ,) if d >= 2 else (Evidence.DERIVED,),
        assumption=f"uniform points in a cube of dimension {d:g}; the worst function for every sample",
    )


def variation_space(d: float) -> Statement:
    """Return the exponent of norm-constrained shallow ReLU least squares on Bach's own space, as a root mean square.

    The mean squared error falls as P^(−(d+3)/(2d+3)) (Yang & Zhou 2024, JMLR 25): for squared loss Bach's 1/(d + 3) for
    Lipschitz targets is not tight either, as the same networks reach Stone's rate for smoothness below (d + 3)/2.
    """
    return Statement(
        name="Yang–Zhou: shallow ReLU, squared loss",
        beta=(d + 3) / (2 * d + 3) / 2,
        direction=Direction.AT_LEAST,
        quantity="root of the mean squared error (half of the paper's exponent)",
        losses=SQUARED_LOSSES,
        source="Yang & Zhou 2024, JMLR 25",
        evidence=(Evidence.READ,),
        assumption=f"target in the variation space, d = {d:g}; Bach's d + 3 is not tight for squared loss",
    )


@dataclass(frozen=True)
class GroupEffect:
    """What theory allows a symmetry group to change of a learning curve."""

    group: str
    """Kind of group."""
    changes: str
    """What it may change."""
    quantity: str
    """Which of both that is: `prefactor`, or `dimension and prefactor`."""
    source: str
    """Paper."""
    evidence: Evidence
    """How it is known."""


def group_effects(d: float | None) -> list[GroupEffect]:
    """Return what building in a group may change: the prefactor for a finite one, the dimension for a continuous one.

    Args:
        d: dimension of the data after translations and rotations, as everywhere here; None if unknown.
    """
    change = "" if d is None else f": d from {d + 6:g} to {d:g}, 1/d from {1 / (d + 6):.3f} to {1 / d:.3f}"
    return [
        GroupEffect(
            "finite (permutations, inversion)",
            "the prefactor: as if with |G| times the data, at fixed d and large P; β stays",
            "prefactor",
            "Tahmasebi & Jegelka 2023 (arXiv 2303.14269), abstract",
            Evidence.READ,
        ),
        GroupEffect(
            "continuous (translations, rotations)",
            f"the dimension, by 6 (3 in a periodic box: translations alone){change}; and the prefactor, by a volume",
            "dimension and prefactor",
            "Tahmasebi & Jegelka 2023 (arXiv 2303.14269), abstract",
            Evidence.READ,
        ),
        GroupEffect(
            "either, at P polynomial in a large d",
            "d^α times fewer data, α ≤ 1 the group's degeneracy: not |G| times fewer",
            "prefactor",
            "Mei, Misiakiewicz & Montanari 2021 (PMLR 134), Definition 1, Table 1",
            Evidence.READ,
        ),
    ]


def group_text(d: float | None) -> str:
    """Describe what a group may change, one line for each statement."""
    lines = ["Symmetry: what building in a group may change (invariant energies have the same quotient for every L)"]
    lines += [f"  {one.group}: {one.changes} [{one.evidence}] {one.source}" for one in group_effects(d)]
    return "\n".join(lines)


def nearest_distance(d: float, p: float, density: float = 1.0) -> float:
    """Return the mean distance to the nearest of p uniform points: Γ(1 + 1/d)·(V_d·ρ·p)^(−1/d), ρ their `density`."""
    ball = math.pi ** (d / 2) / math.gamma(d / 2 + 1)
    return float(math.gamma(1 + 1 / d) * (ball * density * p) ** (-1 / d))


def interpolation(d: float, smoothness: float) -> Statement:
    """Return the exponent s/d of noiseless interpolation of an s times differentiable function in dimension d.

    s = 1 is that of the nearest neighbour.
    """
    return Statement(
        name=f"noiseless interpolation, s = {smoothness:g}",
        beta=smoothness / d,
        direction=Direction.AT_LEAST,
        quantity="error of the best interpolator in the worst case of the class",
        losses=LIPSCHITZ_LOSSES | SQUARED_LOSSES,
        source="elementary for s = 1 (nearest neighbour); approximation theory beyond",
        evidence=(Evidence.DERIVED,) if smoothness == 1 else (Evidence.MEMORY,),
        assumption=f"labels without noise, {smoothness:g} bounded derivatives, dimension {d:g}",
        constant="Lip·Γ(1 + 1/d)·(V_d·ρ)^(−1/d) for the nearest neighbour",
    )


def stone(d: float, smoothness: float) -> Statement:
    """Return Stone's minimax exponent of noisy regression, s/(2s + d) for the root mean square (Stone 1982)."""
    return Statement(
        name=f"Stone: minimax with noise, s = {smoothness:g}",
        beta=smoothness / (2 * smoothness + d),
        direction=Direction.BEST_WORST_CASE,
        quantity="root mean squared error",
        losses=SQUARED_LOSSES,
        source="Stone 1982, Ann. Statist. 10, 1040, via Yang & Zhou 2024",
        evidence=(Evidence.SECOND_HAND,),
        assumption="labels with noise (electronic-structure labels have none)",
    )


def spigler(alpha_teacher: float, alpha_student: float, d: float, *, squared: bool = True) -> float:
    """Return β = min(α_T − d, 2·α_S)/d of the mean squared error of a kernel student of a kernel teacher.

    Half of it, for the root of that error, unless `squared`. Kernel spectra fall as |k|^(−α): Laplace α = d + 1,
    Matérn-ν α = d + 2ν, Gauss infinite (Spigler, Geiger & Wyart 2020, JSTAT 124001; noiseless).
    """
    beta = min(alpha_teacher - d, 2 * alpha_student) / d
    return beta if squared else beta / 2


def kernel_law(alpha_teacher: float, alpha_student: float, d: float) -> Statement:
    """Return Spigler–Geiger–Wyart's law for the root mean squared (or mean absolute) error; see `spigler`."""
    return Statement(
        name="Spigler–Geiger–Wyart: kernel teacher and student",
        beta=spigler(alpha_teacher, alpha_student, d, squared=False),
        direction=Direction.LAW,
        quantity="root of the mean squared error (half of the paper's exponent)",
        losses=LIPSCHITZ_LOSSES | SQUARED_LOSSES,
        source="Spigler, Geiger & Wyart 2020, JSTAT 124001 (arXiv 1905.10843)",
        evidence=(Evidence.READ,),
        assumption=f"kernel regression of a Gaussian field, proved on a lattice; α_T {alpha_teacher:g}, "
        f"α_S {alpha_student:g}, d {d:g}",
    )


def hestness() -> list[Statement]:
    """Return the values of Hestness et al. 2017: the range that they observed, and two that they quote from theory."""
    source = "Hestness et al. 2017 (arXiv 1712.00409)"

    def row(name: str, beta: float, evidence: Evidence, quantity: str, high: float = math.nan) -> Statement:
        return Statement(
            name=f"Hestness: {name}",
            beta=beta,
            direction=Direction.OBSERVED,
            quantity=quantity,
            losses=frozenset(),
            source=source,
            evidence=(evidence,),
            assumption="other tasks and metrics: a comparison of scale",
            beta_high=high,
        )

    return [
        row("observed range", 0.07, Evidence.READ, "several tasks", 0.35),
        row("theory, −0.5", 0.5, Evidence.SECOND_HAND, "generalisation error"),
        row("theory, −1", 1.0, Evidence.SECOND_HAND, "generalisation error"),
    ]


def statements(d: float | None, s: float, k: float, smoothness: float) -> list[Statement]:
    """Return all statements that apply; if the dimension `d` of the data is unknown, only those without it.

    Args:
        d: dimension of the data; None if unknown.
        s: dimension of Bach's subspaces.
        k: number of terms in Bach's sums.
        smoothness: derivatives of the target.
    """
    needing = [] if d is None else [
        *bach(d, s, k), variation_space(d), luxburg(d), luxburg_exact(d), interpolation(d, smoothness),
        stone(d, smoothness),
    ]  # fmt: skip
    return [*needing, *hestness()]
