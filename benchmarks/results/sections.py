"""What docs/results holds: each section's sweeps, what they compare, the papers' words, and what would overturn it.

This is the only place where a section is declared. A section is named after its folder, a part after the question that
its sections answer; `python -m benchmarks.results --list` shows both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Part = Literal["papers", "claim", "trained", "architectures", "symmetry"]


@dataclass(frozen=True)
class Data:
    """A dataset: its words in a heading, how a sweep names it, and the sizes on it."""

    words: str
    """In a heading."""
    overrides: str
    """As words of a sweep."""
    sizes: str
    """P, so many that five seeds draw disjoint subsets."""
    atoms: float
    """Atoms of a frame (of silicon on average), by which the cost of one set is told from another's."""
    tables: tuple[str, ...]
    """What a run table calls it."""
    bonds: float = 1.75
    """The second cutoff in Å: bonds alone are shorter."""


DATA: Mapping[str, Data] = {
    "ethanol_pbe": Data(
        "ethanol (PBE, molecular dynamics at 500 K)", "data=ethanol_pbe", "4,8,16,32,64,128", 9, ("ethanol_pbe",)
    ),
    "acac": Data(
        "acetylacetone (PBE, trained at 300 K, tested at 300 and 600 K)",
        "data=acac data.tests={MD_600K:MD_600K}", "4,8,16,32,64", 15, ("acac_300K",),
    ),
    "3bpa": Data(
        "3BPA (ωB97X, 300 K; 400 of the published training frames as pool, the other 100 as test)",
        "data=3bpa data.test=split data.holdout=0 data.test_frames=null", "2,4,8,16,32,64", 27, ("3bpa_300K",),
    ),
    "mlearn_si": Data(
        "silicon (PBE; crystals, vacancies, surfaces)",
        "data=mlearn_si data.test_frames=null", "2,4,8,16,32", 60, ("mlearn_si",), bonds=3.0,
    ),
    "ethanol_small": Data(
        "ethanol (GFN2-xTB, 500 K; frames that come with the program)",
        "data=ethanol_small", "4,8,16,32,64,128", 9, ("ethanol_small", "ethanol"),
    ),
    "methanol": Data("methanol (GFN2-xTB, 500 K)", "data=methanol", "4,8,16,32,64,128", 6, ("xtb_methanol_500K",)),
    "malonaldehyde": Data(
        "malonaldehyde (GFN2-xTB, 500 K)", "data=malonaldehyde", "4,8,16,32,64,128", 9, ("xtb_malonaldehyde_500K",)
    ),
    "acetylacetone": Data(
        "acetylacetone (GFN2-xTB, 500 K)", "data=acetylacetone", "4,8,16,32,64,128", 15, ("xtb_acetylacetone_500K",)
    ),
}  # fmt: skip
"""Datasets by name."""


@dataclass(frozen=True)
class Section:
    """A table of runs and its page.

    Each sweep is written as on the command line, `python -m experiments -m WORDS`.
    """

    part: Part
    data: str
    """Name in `DATA`; empty: several, as the sweeps say."""
    heading: str
    sweeps: tuple[str, ...]
    """Computed in this order."""
    remark: str
    """What is compared, said beforehand."""
    paper: str = ""
    """What the papers said, in words."""
    overturned_by: str = ""
    """What would overturn what the page says."""
    by: str = ""
    """Column to compare by; empty: whatever differs."""
    linearised: bool = True
    cells: bool = False
    """Its networks are cells A–D, so that its page has the test of the claim."""
    figure: str = "learning_curves.png"
    """Which figure of `analysis figures` its page shows; empty: none, where many panels would take megabytes."""
    later: tuple[str, ...] = ()
    """Sweeps that `--later` adds, where time is left."""
    only_gaining: bool = False
    """A sweep of a larger budget has only those cells and P where the sweep before it still gained on validation."""
    tuned: str = ""
    """Sweep of learning rates, from which `training.tuned=NAME` (the section's name) is chosen first."""
    quick: tuple[str, ...] = ()
    """The sweeps of `--quick`: reduced grids, on data that come with the program; empty: no part of it."""


_SEEDS = "seed=0,1,2,3,4"
_CELLS = (
    "Cells A–D of the [pre-registration](../../claim-preregistration.md), five seeds with disjoint subsets, as many "
)
_OVERTURNED = "Trained networks (a linearised network learns no features), further seeds, and more channels."
_NEQUIP = (
    "Batzner et al. 2022 found that equivariant features (L ≥ 1) make errors fall faster with P than invariant ones, "
    "and that L beyond 1 shifts the curve more than it steepens it."
)
_MACE = (
    "Batatia et al. 2022 found that products of higher order ν steepen the curves of invariant messages, and that L "
    "then shifts them; with ν = 1 it is L that steepens."
)


_SERIES = {"nequip": "NequIP by L", "mace": "MACE by ν and L"}


def _papers(name: str, model: str) -> Section:
    """Return the section of NequIP's figure, or of MACE's three panels, on a dataset."""
    orders = " L=0,1" if name == "mlearn_si" else ""  # L = 2, 3 of 60 atoms would take most of the hours
    swept = f"+sweep={model}_linear {DATA[name].overrides}{orders} {_SEEDS}"
    nequip = model == "nequip"
    quick = "+sweep=nequip_linear L=0,1 P=4,8,16,32 seed=0,1,2" if nequip else "+sweep=mace_linear P=4,8,16,32 seed=0,1"
    return Section(
        part="papers",
        data=name,
        heading=f"{_SERIES[model]} on {DATA[name].words}",
        sweeps=(f"{swept} P={DATA[name].sizes}",),
        remark="NequIP with 16 channels of each degree and parity."
        if nequip
        else "MACE with 16 channels: ν at L = 0, L at ν = 3, and L at ν = 1.",
        paper=_NEQUIP if nequip else _MACE,
        overturned_by=f"{_OVERTURNED} Weights are not matched: a higher L{'' if nequip else ' or ν'} has more.",
        by="L" if nequip else "",
        later=(f"{swept} P=190",) if name == "ethanol_pbe" else (),
        quick=(quick,) if name == "ethanol_small" else (),
    )


def _wide(name: str, sweep: str) -> Section:
    return Section(
        part="papers",
        data=name,
        heading=f"{_SERIES[sweep.removesuffix('_linear')]} with 32 channels on {DATA[name].words}",
        sweeps=(),
        later=(f"+sweep={sweep} {DATA[name].overrides} {_SEEDS} P={DATA[name].sizes} model.channels=32",),
        remark="As with 16 channels, but 32: does an exponent depend on the width?",
        paper=_NEQUIP if "nequip" in sweep else _MACE,
        overturned_by=_OVERTURNED,
        by="L" if "nequip" in sweep else "",
    )


def _claim(name: str, layers: int, cutoff: float) -> Section:
    swept = f"model.n_layers={layers} model.cutoff={cutoff}"
    reach = "with all neighbours within 5 Å" if cutoff == 5.0 else f"with neighbours within {cutoff} Å alone"
    depth = {2: "two", 3: "three", 4: "four"}[layers]
    quick = ""
    if name == "ethanol_small" and cutoff == 5.0 and layers < 4:
        quick = f"+sweep=claim_linear {swept} P=4,8,16,32{',64' if layers == 2 else ''} seed=0,1,2"
    return Section(
        part="claim",
        data=name,
        heading=f"The claim on {DATA[name].words}: {depth} layers, {cutoff} Å",
        sweeps=(f"+sweep=claim_linear {DATA[name].overrides} {swept} P={DATA[name].sizes} {_SEEDS}",),
        remark=f"{_CELLS}weights as cell C with 16 channels; {depth} layers, {reach}.",
        paper="The claim was read from the papers' curves: L or ν must be high enough for a steep curve, and one "
        "of them can stand in for the other. They gave no exponents.",
        overturned_by=_OVERTURNED,
        cells=True,
        quick=(quick,) if quick else (),
    )


def _trained() -> Section:
    mace = "data=ethanol_pbe model=mace cell=A,B,C,D match=weights data.test_frames=250"
    mace += " reference.L=0 reference.nu=3 reference.edge_lmax=3 reference.channels=16"
    nequip = "data=ethanol_pbe model=nequip L=0,1 model.channels=16 data.test_frames=250"
    # five sizes, with fewer of which a floor cannot be told from a slope
    shared = "P=8,16,32,64,128 training.energy_weight=1.0 training.tuned=trained_ethanol_pbe"
    models = (f"{mace} seed=0,1,2,3,4 {shared}", f"{nequip} seed=0,1,2 {shared}")
    rates = "P=16,128 seed=0 training.energy_weight=1.0 training.max_steps=4000"
    rates += " training.learning_rate=5e-3,1e-2,2e-2,4e-2"
    return Section(
        part="trained",
        data="ethanol_pbe",
        heading="Trained beside linearised on ethanol (PBE)",
        tuned=f"+sweep=tune {mace} {rates}; +sweep=tune {nequip} {rates}",
        sweeps=tuple(
            f"{runs} training.max_steps={budget}" for budget in (4000, 16000, 64000) for runs in models
        ),
        only_gaining=True,
        remark="MACE cells A–D (weights matched) and NequIP L = 0, 1 with 16 channels, trained; learning rates tuned "
        "for each model at P = 16 and 128 by validation errors; a larger budget only where the one before still "
        "gained on validation frames. Beside them the same networks linearised, on the same subsets. Cells have the "
        "five sizes and five seeds of the [pre-registration](../../claim-preregistration.md); P = 8 and seeds 3, 4 "
        "were added after P = 16 … 128 with three seeds had left its conditions open.",
        paper="Ngo & Ravanbakhsh (arXiv 2510.09768) measure exponents of trained networks in the number of frames, one "
        "epoch, OMol25: .31 of message passing without rotation symmetry, .39 of EGNN (L = 1, two bodies), .50 of "
        "GemNet-OC (invariants of four bodies), .75 of eSEN (L up to 4); so four bodies without L are steeper there "
        "than L = 1 with two. The papers of NequIP and MACE train until a plateau of validation errors.",
        overturned_by="Larger budgets where the hull is wide, and more channels. Not measured: NequIP L = 2, a second "
        "molecule, exponents by optimiser.",
        linearised=False,
        cells=True,
        quick=(
            "data=ethanol_small data.test_frames=250 model=mace cell=A,C model.channels=4 P=8,16,32 seed=0,1 "
            "training.max_steps=200 training.compile=false",
        ),
    )  # fmt: skip


def _augmented() -> Section:
    mpnn = "data=ethanol_pbe model=mpnn model.channels=32 training.augment=false,true data.test_frames=250"
    mpnn += " training.energy_weight=1.0"
    name = "trained_mpnn_ethanol_pbe"
    return Section(
        part="trained",
        data="ethanol_pbe",
        heading="Rotated copies instead of a symmetry: message passing, trained on ethanol (PBE)",
        tuned=f"+sweep=tune {mpnn} P=16,128 seed=0 training.max_steps=4000 "
        "training.learning_rate=5e-3,1e-2,2e-2,4e-2,8e-2",
        sweeps=tuple(
            f"{mpnn} P=8,16,32,64,128 seed=0,1,2,3,4 training.tuned={name} training.max_steps={budget}"
            for budget in (4000, 16000)
        ),
        only_gaining=True,
        remark="Message passing without rotation symmetry, 32 channels, trained on frames as they are and on frames "
        "that are rotated at random in every batch; learning rates tuned for both at P = 16 and 128 by validation "
        "errors; a larger budget only where the one before still gained. Beside them the same network linearised. "
        "P = 8 and seeds 3, 4 were added after P = 16 … 128 with three seeds had been seen.",
        paper="Brehmer et al. 2024 found that networks without symmetry close the gap in data efficiency by rotated "
        "copies, if they train long enough.",
        overturned_by="Larger budgets where the hull is wide, and networks of other sizes.",
        linearised=False,
    )


def _architectures(name: str) -> Section:
    return Section(
        part="architectures",
        data=name,
        heading=f"Architectures on {DATA[name].words}",
        sweeps=(f"+sweep=architectures_linear {DATA[name].overrides} P={DATA[name].sizes} {_SEEDS}",),
        remark="Every architecture without an optimiser, on the same subsets: MACE, NequIP, TFN, message passing "
        "without rotation symmetry and equivariant polynomials linearised; linear ACE, kernel ridge regression and the "
        "nearest neighbour as they are.",
        paper="Batzner et al. 2022 found NequIP steeper than invariant networks and kernels; Kovács et al. 2021 found "
        "linear ACE on a par with networks at small P.",
        overturned_by=f"{_OVERTURNED} Networks of other sizes: numbers of weights differ.",
        figure="by_architecture.png",
        quick=("+sweep=architectures_linear P=4,8,16,32 seed=0,1",) if name == "ethanol_small" else (),
    )


_TAHMASEBI = (
    "Tahmasebi & Jegelka 2023 prove for kernels that a finite group divides the frames needed by its order, and that a "
    "continuous one lowers the dimension, hence raises the exponent. A group that the data lack should do neither."
)
_LONGER = "Longer training: most of these curves are not converged."
_GROUPS = Section(
    part="symmetry",
    data="",
    heading="Symmetry groups",
    sweeps=("+sweep=groups",),
    remark="Each network beside its twin of equal size without the symmetry. The table of all pairs is in "
    "[docs/groups.md](../../groups.md).",
    paper=_TAHMASEBI,
    overturned_by=_LONGER,
    linearised=False,
    figure="",
)
_CONTROL = Section(
    part="symmetry",
    data="digits_shifted",
    heading="A wrong group as control: rotations and mirrors for digits that stand upright",
    sweeps=("+sweep=groups_control",),
    remark="Networks whose group the data do not have, beside a twin of equal size with translations alone.",
    paper=_TAHMASEBI,
    overturned_by=_LONGER,
    linearised=False,
    figure="",
    quick=(
        "data=star model=mpnn,tfn model.n_layers=1 model.channels=8 P=16,32,64 seed=0,1 training.max_steps=200 "
        "training.compile=false data.test_frames=200",
    ),
)

SECTIONS: Mapping[str, Section] = {
    **{f"nequip_{name}": _papers(name, "nequip") for name in DATA},
    **{f"mace_{name}": _papers(name, "mace") for name in DATA if name != "mlearn_si"},
    "nequip_ethanol_pbe_32": _wide("ethanol_pbe", "nequip_linear"),
    "mace_ethanol_pbe_32": _wide("ethanol_pbe", "mace_linear"),
    **{f"claim_{name}": _claim(name, 2, 5.0) for name in DATA},
    **{f"claim_{name}_depth{layers}": _claim(name, layers, 5.0) for layers in (3, 4) for name in DATA},
    **{f"claim_{name}_bonds": _claim(name, 2, DATA[name].bonds) for name in DATA},
    "trained_ethanol_pbe": _trained(),
    "trained_mpnn_ethanol_pbe": _augmented(),
    "architectures_ethanol_pbe": _architectures("ethanol_pbe"),
    "architectures_acac": _architectures("acac"),
    "architectures_ethanol_small": _architectures("ethanol_small"),
    "groups": _GROUPS,
    "groups_control": _CONTROL,
}
"""Sections by the name of their folder, in the order in which they are computed."""


def chosen(names: list[str]) -> list[str]:
    """Return the sections of these names, a part's name standing for all of its sections; all if there are none."""
    parts = {section.part for section in SECTIONS.values()}
    return [
        name for name, section in SECTIONS.items() if not names or name in names or section.part in (parts & set(names))
    ]
