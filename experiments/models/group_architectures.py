"""The settings of the networks for other symmetries than a molecule's, and of their twins without; torch-free.

`takes` names the kinds of examples (`experiments.core.kinds`). A twin has the same number of weights, by its
`channels`; conf/sweep/groups.yaml has the pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from experiments.core.errors import InputError
from experiments.core.schema import setting

NO_DEGREES: Mapping[str, int] = {"L": 0, "nu": 1}


def _odd(kernel: int) -> None:
    if kernel % 2 == 0:
        raise InputError(f"kernel={kernel}: accepted: an odd number of pixels, which has a centre")


@dataclass(frozen=True)
class Readout:
    """Settings of every network whose readout is a perceptron on invariants."""

    hidden: int | None = setting(None, low=1, high=4096, since=2)
    """Hidden units of the readout; null: as many as it has inputs."""


@dataclass(frozen=True)
class MlpConfig:
    """Multilayer perceptron on the pixels: no symmetry."""

    architecture: ClassVar[str] = "mlp"
    closed_form: ClassVar[bool] = False
    group: ClassVar[str] = "none"
    takes: ClassVar[tuple[str, ...]] = ("series", "images", "voxels", "clouds")
    lacks: ClassVar[Mapping[str, int]] = NO_DEGREES

    n_layers: int = setting(2, low=1, high=8)
    """Number of hidden layers."""
    channels: int = setting(27, low=1, high=4096)
    """Channels of a hidden layer."""


@dataclass(frozen=True)
class CnnConfig(Readout):
    """Convolutional network of as many dimensions as the images have."""

    architecture: ClassVar[str] = "cnn"
    closed_form: ClassVar[bool] = False
    group: ClassVar[str] = "translations"
    takes: ClassVar[tuple[str, ...]] = ("series", "images", "voxels")
    lacks: ClassVar[Mapping[str, int]] = NO_DEGREES

    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(12, low=1, high=1024)
    kernel: int = setting(5, low=1, high=15)
    """Pixels of a kernel's side, odd."""
    copies: int = setting(1, low=1, high=64)
    """Copies of an image in training: itself and `copies` − 1 rotated ones."""
    instance_norm: bool = setting(False, since=2)
    """Normalise channels over the grid before every nonlinearity but the last, and pool by the mean."""

    def __post_init__(self) -> None:
        _odd(self.kernel)


@dataclass(frozen=True)
class GcnnConfig(Readout):
    """Group-equivariant convolutional network, Cohen & Welling 2016 (arXiv 1602.07576)."""

    architecture: ClassVar[str] = "gcnn"
    closed_form: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = ("images",)
    lacks: ClassVar[Mapping[str, int]] = NO_DEGREES

    symmetry: str = setting("p4", choices=("p4", "p4m"))
    """Translations and rotations by 90°, for p4m also mirrors."""
    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(6, low=1, high=1024)
    """Channels of every element of the point group."""
    kernel: int = setting(5, low=1, high=15)
    instance_norm: bool = setting(False, since=2)
    """Normalise channels over the group before every nonlinearity but the last, and pool by the mean."""

    def __post_init__(self) -> None:
        _odd(self.kernel)

    @property
    def group(self) -> str:
        """Symmetry group."""
        return self.symmetry


@dataclass(frozen=True)
class HarmonicConfig(Readout):
    """Harmonic network, Worrall et al. 2017 (arXiv 1612.04642)."""

    architecture: ClassVar[str] = "harmonic"
    closed_form: ClassVar[bool] = False
    group: ClassVar[str] = "SE(2)"
    takes: ClassVar[tuple[str, ...]] = ("images",)
    lacks: ClassVar[Mapping[str, int]] = NO_DEGREES

    max_order: int = setting(1, low=0, high=4)
    """Highest rotation order of features."""
    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(12, low=1, high=1024)
    """Complex channels of every rotation order."""
    kernel: int = setting(5, low=3, high=15)
    n_rings: int = setting(3, low=1, high=16)
    """Number of rings of a filter."""

    def __post_init__(self) -> None:
        _odd(self.kernel)


@dataclass(frozen=True)
class ScaleSpaceConfig(Readout):
    """Deep scale-space, Worrall & Welling 2019 (arXiv 1905.11697), on scales 1, 2, 4 and so on."""

    architecture: ClassVar[str] = "scale_space"
    closed_form: ClassVar[bool] = False
    group: ClassVar[str] = "dilations"
    takes: ClassVar[tuple[str, ...]] = ("images",)
    lacks: ClassVar[Mapping[str, int]] = NO_DEGREES

    n_scales: int = setting(3, low=1, high=6)
    """Number of scales of the lifted image."""
    kernel_scales: int = setting(2, low=1, high=6)
    """Number of scales that a filter spans."""
    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(12, low=1, high=1024)
    kernel: int = setting(3, low=1, high=15)
    instance_norm: bool = setting(False, since=2)
    """Normalise channels over places and scales before every nonlinearity but the last, and pool by the mean."""

    def __post_init__(self) -> None:
        _odd(self.kernel)
        if self.kernel_scales > self.n_scales:
            raise InputError(f"kernel_scales={self.kernel_scales}: accepted: at most n_scales={self.n_scales}")


@dataclass(frozen=True)
class Steerable3dConfig(Readout):
    """3D steerable CNN, Weiler et al. 2018 (arXiv 1807.02547)."""

    architecture: ClassVar[str] = "steerable3d"
    closed_form: ClassVar[bool] = False
    group: ClassVar[str] = "SE(3)"
    takes: ClassVar[tuple[str, ...]] = ("voxels",)
    lacks: ClassVar[Mapping[str, int]] = {"nu": 1}

    L: int = setting(1, low=0, high=3)
    """Highest degree of the features."""
    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(4, low=1, high=256)
    """Channels of every degree."""
    kernel: int = setting(5, low=3, high=9)
    """Voxels of a kernel's side, odd."""
    n_rings: int = setting(3, low=1, high=8)
    """Number of rings of a kernel."""
    instance_norm: bool = setting(True)
    """Normalise fields over the grid before every nonlinearity but the last, and pool by the mean."""

    def __post_init__(self) -> None:
        _odd(self.kernel)


@dataclass(frozen=True)
class LorentzConfig(Readout):
    """Lorentz group network, Bogatskiy et al. 2020 (arXiv 2006.04780), of scalars, four-vectors and tensors."""

    architecture: ClassVar[str] = "lorentz"
    closed_form: ClassVar[bool] = False
    group: ClassVar[str] = "SO+(1,3)"
    takes: ClassVar[tuple[str, ...]] = ("momenta",)
    lacks: ClassVar[Mapping[str, int]] = {"nu": 1}

    L: int = setting(1, low=1, high=2)
    """Highest rank of the tensors of a particle: 1: scalars and four-vectors; 2: also those of second rank."""
    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(8, low=1, high=256)
    """Channels of scalars, of four-vectors and of each kind of tensors."""
    width: int = setting(8, low=1, high=256)
    """Hidden units of the function of p_ij² that weighs a pair of particles."""


@dataclass(frozen=True)
class MomentaConfig:
    """Network on the components of four-momenta, symmetric under permutations alone (deep sets)."""

    architecture: ClassVar[str] = "momenta"
    closed_form: ClassVar[bool] = False
    group: ClassVar[str] = "none"
    takes: ClassVar[tuple[str, ...]] = ("momenta",)
    lacks: ClassVar[Mapping[str, int]] = NO_DEGREES

    n_layers: int = setting(2, low=1, high=8)
    """Hidden layers on a particle, and as many on the sum."""
    channels: int = setting(24, low=1, high=1024)


GroupConfig = (
    MlpConfig | CnnConfig | GcnnConfig | HarmonicConfig | ScaleSpaceConfig | Steerable3dConfig | LorentzConfig
    | MomentaConfig
)  # fmt: skip
GROUP_CONFIGS: tuple[type[GroupConfig], ...] = (
    MlpConfig, CnnConfig, GcnnConfig, HarmonicConfig, ScaleSpaceConfig, Steerable3dConfig, LorentzConfig, MomentaConfig
)  # fmt: skip
