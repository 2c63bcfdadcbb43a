"""The closed-form model of every configuration whose `closed_form` is true."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from experiments.models.contract import ModelConfig, MoleculeInfo
from experiments.models.registry import build, origin
from experiments.regression.ladder import ClosedForm, OneByOne


def closed_form(
    config: ModelConfig, elements: Sequence[int], neighbours: float | Callable[[], float] | None = None
) -> ClosedForm:
    """Make the model of an architecture that is fitted in closed form.

    Args:
        config: its settings.
        elements: ascending atomic numbers.
        neighbours: mean number of neighbours of an atom, or what counts them; a linearised plain module asks for it.

    Raises:
        InputError: a user's file returns something that cannot be fitted.
    """
    made = build(config, MoleculeInfo(elements, neighbours))
    ladder = callable(getattr(made, "ladder", None))
    for name in ("accept", "ladder" if ladder else "solve", "geometry"):
        if origin(config).module is None and not callable(getattr(made, name, None)):
            raise origin(config).fault(
                f"build returned {type(made).__name__} without {name}; accepted: a ClosedForm "
                "(experiments.regression.ladder)"
            )
    return made if ladder else OneByOne(made)  # type: ignore[no-any-return]
