"""The settings of every architecture (`model=…`). Torch-free; the networks are in the other files of this folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from experiments.core.schema import setting
from experiments.models.group_architectures import GROUP_CONFIGS, GroupConfig


@dataclass(frozen=True)
class MaceConfig:
    """MACE, Batatia et al. 2022 (arXiv 2206.07697)."""

    architecture: ClassVar[str] = "mace"
    closed_form: ClassVar[bool] = False
    group: ClassVar[str] = "E(3)"
    lacks: ClassVar[Mapping[str, int | None]] = {}
    """Knobs that it lacks, with their implied value, which is accepted like null (None: there is none)."""

    L: int = setting(1, low=0, high=3)
    """Highest degree of the messages passed between layers."""
    nu: int = setting(3, low=1, high=3)
    """Correlation order: number of neighbour factors in a product."""
    edge_lmax: int = setting(3, low=0, high=3)
    """Highest degree inside a layer."""
    n_layers: int = setting(2, low=1, high=8)
    channels: int = setting(32, low=1, high=1024)
    cutoff: float = setting(5.0, above=0.0, high=50.0)
    """Cutoff radius in Å."""
    n_bessel: int = setting(8, low=1, high=64)
    cutoff_power: int = setting(5, low=2, high=12)
    radial_hidden: tuple[int, ...] = setting((64, 64, 64), low=1, high=1024)
    readout_hidden: int = setting(16, low=1, high=1024)
    first_residual: bool = setting(False, since=2)
    """Whether the first layer has a residual too, and the same node map for all elements; false: as published."""


@dataclass(frozen=True)
class NequipConfig:
    """NequIP, Batzner et al. 2021 (arXiv 2101.03164). It has no ν: a message holds one neighbour."""

    architecture: ClassVar[str] = "nequip"
    closed_form: ClassVar[bool] = False
    group: ClassVar[str] = "E(3)"
    lacks: ClassVar[Mapping[str, int | None]] = {"nu": 1}

    L: int = setting(1, low=0, high=3)
    """Highest degree of the node features."""
    edge_lmax: int | None = setting(None, low=0, high=3)
    """Highest degree of the edges' harmonics; null: L, as published. After construction always a number."""
    parity: bool = setting(True)
    """Features of both parities; false: only those of natural parity (−1)^l."""
    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(32, low=1, high=1024)
    """Channels of every degree and parity."""
    embedding: int | None = setting(None, low=1, high=1024)
    """Channels of the embedding of elements; null: channels. After construction always a number."""
    cutoff: float = setting(5.0, above=0.0, high=50.0)
    """Cutoff radius in Å."""
    n_bessel: int = setting(8, low=1, high=64)
    bessel_trainable: bool = setting(True)
    """Whether the frequencies of the radial basis are weights."""
    cutoff_power: int = setting(6, low=2, high=12)
    radial_hidden: tuple[int, ...] = setting((64, 64, 64), low=1, high=1024)
    readout_hidden: int | None = setting(16, low=1, high=1024)
    """Channels between the two linear maps of the readout; null: a single map."""
    self_connection: str = setting("species", choices=("species", "embedding"))
    """Input that weighs the matrices of a self-connection: the element, or its embedding."""
    first_self_connection: bool = setting(True)
    """Whether the first layer has a self-connection."""
    prune: str = setting("all", choices=("all", "last", "none"))
    """Layers in which weights that cannot reach the energy are left out; the function is the same."""
    species_scales: bool = setting(False, since=2)
    """Whether the energies of atoms have a trained factor for every element."""

    def __post_init__(self) -> None:
        for name, natural in (("edge_lmax", self.L), ("embedding", self.channels)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, natural)

    @property
    def edge_order(self) -> int:
        """`edge_lmax` as a number."""
        assert self.edge_lmax is not None
        return self.edge_lmax

    @property
    def embedding_channels(self) -> int:
        """`embedding` as a number."""
        assert self.embedding is not None
        return self.embedding


@dataclass(frozen=True)
class TfnConfig:
    """Tensor field network, Thomas et al. 2018 (arXiv 1802.08219). It has no ν, and tells mirror images apart."""

    architecture: ClassVar[str] = "tfn"
    closed_form: ClassVar[bool] = False
    group: ClassVar[str] = "SE(3)"
    takes: ClassVar[tuple[str, ...]] = ("molecules", "clouds")
    lacks: ClassVar[Mapping[str, int | None]] = {"nu": 1}

    L: int = setting(1, low=0, high=3)
    """Highest degree of the node features."""
    edge_lmax: int | None = setting(None, low=0, high=3)
    """Highest degree of the filters; null: L. After construction always a number."""
    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(32, low=1, high=1024)
    """Channels of every degree."""
    cutoff: float = setting(5.0, above=0.0, high=50.0)
    """Cutoff radius in Å."""
    n_radial: int = setting(16, low=2, high=64)
    """Gaussians between 0 and the cutoff."""
    radial_width: int = setting(16, low=1, high=1024)
    """Hidden units of the radial networks; every path has one of its own."""
    cutoff_power: int = setting(6, low=2, high=12)

    def __post_init__(self) -> None:
        if self.edge_lmax is None:
            object.__setattr__(self, "edge_lmax", self.L)

    @property
    def edge_order(self) -> int:
        """`edge_lmax` as a number."""
        assert self.edge_lmax is not None
        return self.edge_lmax


@dataclass(frozen=True)
class PolynomialConfig:
    """Polynomials of ⊗ and ⊕ (Geiger, "Youth in high dimensions", 2022): one sum over neighbours, ν − 1 products."""

    architecture: ClassVar[str] = "polynomial"
    closed_form: ClassVar[bool] = False
    group: ClassVar[str] = "E(3)"
    lacks: ClassVar[Mapping[str, int]] = {}

    L: int = setting(1, low=0, high=3)
    """Highest degree handed from one product to the next."""
    nu: int = setting(3, low=1, high=4)
    """Correlation order: number of neighbour factors of the highest product."""
    edge_lmax: int = setting(3, low=0, high=3)
    """Highest degree of the neighbour density, the factor of every product."""
    channels: int = setting(32, low=1, high=1024)
    """Channels of every degree."""
    cutoff: float = setting(5.0, above=0.0, high=50.0)
    """Cutoff radius in Å."""
    n_bessel: int = setting(8, low=1, high=64)
    cutoff_power: int = setting(5, low=2, high=12)


@dataclass(frozen=True)
class MpnnConfig:
    """Message passing on components of relative vectors: the baseline without rotation symmetry (Ngo & Ravanbakhsh,
    arXiv 2510.09768; Brehmer et al., arXiv 2410.23179). Its features have no degrees, its messages no ν."""

    architecture: ClassVar[str] = "mpnn"
    closed_form: ClassVar[bool] = False
    group: ClassVar[str] = "T(3)"
    takes: ClassVar[tuple[str, ...]] = ("molecules", "clouds")
    lacks: ClassVar[Mapping[str, int]] = {"L": 0, "nu": 1}

    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(64, low=1, high=2048)
    """Channels of node features and of every hidden layer."""
    message_layers: int = setting(2, low=1, high=4)
    """Hidden layers of the perceptron that makes messages."""
    cutoff: float = setting(5.0, above=0.0, high=50.0)
    """Cutoff radius in Å."""
    n_bessel: int = setting(8, low=1, high=64)
    cutoff_power: int = setting(6, low=2, high=12)


@dataclass(frozen=True)
class AceConfig:
    """Linear ACE, Drautz 2019 (doi 10.1103/PhysRevB.99.014104), fitted in closed form."""

    architecture: ClassVar[str] = "ace"
    closed_form: ClassVar[bool] = True
    group: ClassVar[str] = "E(3)"
    lacks: ClassVar[Mapping[str, int | None]] = {"L": 0}

    nu: int = setting(2, low=1, high=4)
    edge_lmax: int = setting(3, low=0, high=3)
    n_radial: int = setting(8, low=1, high=32)
    cutoff: float = setting(5.0, above=0.0, high=50.0)
    """Cutoff radius in Å."""
    energy_weight: float = setting(1.0, low=0.0)
    """Weight of the energy per atom, in units of the force RMS × 1 Å, beside forces."""
    force_weight: float = setting(1.0, low=0.0)


@dataclass(frozen=True)
class KrrConfig:
    """Kernel ridge regression of energies and forces on inverse distances, as Chmiela et al. 2017, 2018 (sGDML)."""

    architecture: ClassVar[str] = "krr"
    closed_form: ClassVar[bool] = True
    group: ClassVar[str] = "E(3)"
    lacks: ClassVar[Mapping[str, int | None]] = {"L": None, "nu": None}

    kernel: str = setting("matern52", choices=("matern52", "gaussian"))
    length: float | None = setting(None, above=0.0)
    """Length scale in 1/Å; null: chosen by leaving out training frames."""
    symmetrise: bool = setting(True)
    """Average over the permutations of like atoms that keep the molecule's bonds."""
    energy_weight: float = setting(1.0, low=0.0)
    """Weight of the energy per atom, in units of the force RMS × 1 Å, beside forces."""
    force_weight: float = setting(1.0, low=0.0)


@dataclass(frozen=True)
class NearestConfig:
    """The labels of the nearest training frame: the Lipschitz reference, with errors of order δ(P) ~ P^(−1/d)."""

    architecture: ClassVar[str] = "nearest"
    closed_form: ClassVar[bool] = True
    group: ClassVar[str] = "E(3)"
    lacks: ClassVar[Mapping[str, int | None]] = {"L": None, "nu": None}

    metric: str = setting("descriptor", choices=("descriptor", "aligned_rmsd"))
    """See `experiments.data.distances`."""


@dataclass(frozen=True)
class PointKernelConfig:
    """Kernel regression on the points of a teacher (data=sphere, torus): the student whose exponent is known."""

    architecture: ClassVar[str] = "point_kernel"
    closed_form: ClassVar[bool] = True
    group: ClassVar[str] = "none"
    takes: ClassVar[tuple[str, ...]] = ("points",)
    lacks: ClassVar[Mapping[str, int | None]] = {"L": None, "nu": None}

    kernel: str = setting("laplace", choices=("laplace", "matern32", "matern52", "gaussian"))
    length: float = setting(1.0, above=0.0)
    """Length scale in the units of the points."""
    ridge: float = setting(0.0, low=0.0)
    """Variance of the noise that the fit allows for, relative to the kernel's; 0: it interpolates."""
    quotient: bool = setting(False)
    """Whether the model has the invariance of data=torus: its input is θ1 − θ2 alone."""


@dataclass(frozen=True)
class PointNearestConfig:
    """The label of the nearest training point of a teacher: |f − f_nearest| ≤ Lip·δ(P) with δ ~ P^(−1/d)."""

    architecture: ClassVar[str] = "point_nearest"
    closed_form: ClassVar[bool] = True
    group: ClassVar[str] = "none"
    takes: ClassVar[tuple[str, ...]] = ("points",)
    lacks: ClassVar[Mapping[str, int | None]] = {"L": None, "nu": None}


@dataclass(frozen=True)
class NtkConfig:
    """Ridge regression on the network `of` linearised around its initial weights (Jacot et al. 2018, 1806.07572).

    In a configuration the settings of the network stand beside these; L, ν and the other columns are the network's.
    """

    architecture: ClassVar[str] = "ntk"
    closed_form: ClassVar[bool] = True
    lacks: ClassVar[Mapping[str, int | None]] = {}
    shared: ClassVar[tuple[str, ...]] = ("edge_lmax", "n_layers", "channels", "cutoff")
    """Settings of networks that null leaves to the network."""

    of: str = setting("mace")
    network: NetworkConfig = field(default_factory=MaceConfig)
    energy_weight: float = setting(1.0, low=0.0)
    """Weight of the energy per atom, in units of the force RMS × 1 Å, beside forces."""
    force_weight: float = setting(1.0, low=0.0)

    @property
    def name(self) -> str:
        """Name in tables: curves of different networks are different architectures."""
        return f"ntk-{self.of}"

    @property
    def group(self) -> str:
        """Symmetry of the network."""
        return self.network.group

    @property
    def L(self) -> int | None:
        """L of the network."""
        return getattr(self.network, "L", None)

    @property
    def nu(self) -> int | None:
        """ν of the network."""
        return getattr(self.network, "nu", None)

    @property
    def edge_lmax(self) -> int | None:
        """Edge order of the network."""
        return getattr(self.network, "edge_lmax", None)

    @property
    def n_layers(self) -> int | None:
        """Number of layers of the network."""
        return getattr(self.network, "n_layers", None)

    @property
    def channels(self) -> int | None:
        """Channels of the network."""
        return getattr(self.network, "channels", None)

    @property
    def cutoff(self) -> float:
        """Cutoff of the network in Å."""
        return self.network.cutoff


NetworkConfig = MaceConfig | NequipConfig | TfnConfig | PolynomialConfig | MpnnConfig
"""Architectures that are trained on molecules."""
ModelConfig = (
    NetworkConfig
    | AceConfig
    | KrrConfig
    | NearestConfig
    | NtkConfig
    | PointKernelConfig
    | PointNearestConfig
    | GroupConfig
)
MODELS: dict[str, type[ModelConfig]] = {
    m.architecture: m
    for m in (
        MaceConfig,
        NequipConfig,
        TfnConfig,
        PolynomialConfig,
        MpnnConfig,
        AceConfig,
        KrrConfig,
        NearestConfig,
        NtkConfig,
        PointKernelConfig,
        PointNearestConfig,
        *GROUP_CONFIGS,
    )
}
"""Settings class by `model.architecture`."""


def takes(config: ModelConfig | type[ModelConfig]) -> tuple[str, ...]:
    """Return the kinds of examples that an architecture can learn from (`experiments.core.kinds`)."""
    return getattr(config, "takes", ("molecules",))
