"""The form of a file that declares an architecture, and what such files share; torch-free.

A file `NAME.py` here, or `DIR/models/NAME.py` of a user (`plugins=DIR`), has

- `CONFIG`, a frozen dataclass: its class attributes `architecture`, `label` (its name as the field writes it), `group`
  and `kinds` (of examples, `experiments.core.kinds`), its fields the settings, `cutoff` in Å among them for molecules;
- `build(config, info)`, which makes the network of those settings; `info` is a `MoleculeInfo` or an `ExampleInfo`;
- so that `match=features` can choose the channels (the setting `channels`), `widths(config)`: the number of feature
  components of an atom that each layer takes from the one before it. Components that never reach the energy count only
  if they are computed.

A network for molecules is a `torch.nn.Module` (`experiments.models.networks.plain` has its form), or has
`init(seed, dtype)` and `energies(params, graph)` with an axis of packed runs, as those in `networks` have.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass
from typing import Any, ClassVar, Protocol

from experiments.core.errors import InputError
from experiments.core.schema import setting

Lacks = Mapping[str, int | None]
"""Knobs (L, nu) that an architecture lacks, with their implied value, which is accepted like null (None: none)."""
NO_DEGREES: Lacks = {"L": 0, "nu": 1}


class ModelConfig(Protocol):
    """The settings of any architecture."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    architecture: ClassVar[str]
    """Name, as in `model=NAME`."""
    label: ClassVar[str]
    """Name in figures and reports."""
    kinds: ClassVar[tuple[str, ...]]
    """Kinds of examples that it can learn from (`experiments.core.kinds`)."""
    closed_form: ClassVar[bool]
    """Whether it is fitted in closed form instead of trained."""
    lacks: ClassVar[Lacks]
    """Knobs that it lacks."""
    numerics: ClassVar[int]
    """See `Architecture`."""

    @property
    def group(self) -> str:
        """Symmetry group of the function."""
        ...

    def __hash__(self) -> int: ...


class NetworkConfig(ModelConfig, Protocol):
    """The settings of an architecture that is trained on molecules."""

    @property
    def cutoff(self) -> float:
        """Cutoff radius in Å."""
        ...


class Architecture:
    """Class attributes of a `CONFIG` that need not be written; a base class, if one likes."""

    closed_form: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ("molecules",)
    lacks: ClassVar[Lacks] = {}
    takes_periodic: ClassVar[bool] = True
    """Whether it learns from periodic frames; methods that compare frames of one molecule do not."""
    numerics: ClassVar[int] = 1
    """To be raised when a plug-in computes other numbers from the same settings: it renames its runs."""


@dataclass(frozen=True)
class Readout(Architecture):
    """Settings of every network whose readout is a perceptron on invariants."""

    hidden: int | None = setting(None, low=1, high=4096, since=2)
    """Hidden units of the readout; null: as many as it has inputs."""


def odd(kernel: int) -> None:
    """Raise `InputError` for a kernel without a centre."""
    if kernel % 2 == 0:
        raise InputError(f"kernel={kernel}: accepted: an odd number of pixels, which has a centre")


class MoleculeInfo:
    """The facts about the data that a network for molecules is built from.

    species     atomic numbers of the elements, ascending; forward's `species` are indices into them
    n_species   their number
    """

    def __init__(self, species: int | Sequence[int], neighbours: float | Callable[[], float] | None = None) -> None:
        """Take the facts.

        Args:
            species: ascending atomic numbers; a number n stands for the first n elements.
            neighbours: mean number of neighbours of an atom within the cutoff, or what counts them when asked.
        """
        self.species = tuple(range(1, species + 1)) if isinstance(species, int) else tuple(int(z) for z in species)
        self.n_species = len(self.species)
        self._neighbours = neighbours

    @property
    def mean_neighbours(self) -> float:
        """Mean number of neighbours of an atom within the cutoff, over the pool's frames (no label enters)."""
        if callable(self._neighbours):
            self._neighbours = self._neighbours()
        if self._neighbours is None:
            raise ValueError("the mean number of neighbours is not known here")
        return self._neighbours


@dataclass(frozen=True)
class ExampleInfo:
    """The facts that a network for other examples than molecules is built from.

    shape      of one input
    n_outputs  one a class, or 1 for a number
    """

    shape: tuple[int, ...]
    n_outputs: int


Build = Callable[[Any, Any], Any]


def feature_widths(channels: int, degrees: Iterable[Iterable[int]]) -> tuple[int, ...]:
    """Return Σ (2l+1)·channels for scalars, the features before the first layer, and for the degrees of each other."""
    components = [1, *(sum(2 * degree + 1 for degree in layer) for layer in degrees)]
    return tuple(channels * count for count in components)


def named(module: str, name: str) -> Any:
    """Import a module and return what it calls so: settings stay free of torch, and a network imports its own."""
    return getattr(importlib.import_module(module), name)


def network_of_molecules(module: str, name: str) -> Build:
    """Return the `build` of a network made from settings and the number of elements, imported when it is called."""
    return lambda config, info: named(module, name)(config, info.n_species)


def network_of_examples(module: str, name: str) -> Build:
    """Return the `build` of a network made from settings, shape of an input and number of outputs."""
    return lambda config, info: named(module, name)(config, info.shape, info.n_outputs)


def network_of_both(module: str, name: str) -> Build:
    """Return the `build` of a network of molecules that also learns from clouds of points."""

    def build(config: Any, info: MoleculeInfo | ExampleInfo) -> Any:
        made = named(module, name)
        if isinstance(info, MoleculeInfo):
            return made(config, info.n_species)
        return named("experiments.models.networks.clouds", "Clouds")(made(config, 1, info.n_outputs), info.shape)

    return build


def fitted(module: str, name: str) -> Build:
    """Return the `build` of a model that is fitted in closed form, made from settings and atomic numbers."""
    return lambda config, info: named(module, name)(config, info.species)


def widths_of(module: str) -> Callable[[Any], Sequence[int]]:
    """Return the `widths` of a network whose module has a function of that name."""
    return lambda config: named(module, "widths")(config)
