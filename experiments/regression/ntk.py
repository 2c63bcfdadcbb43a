"""A network linearised around its initial weights θ₀, by ridge regression: the architecture without an optimiser.

Jacot et al. 2018 (arXiv 1806.07572): a network so wide that training hardly moves its weights learns what ridge
regression on the features ∂E/∂θ does, with forces −∂/∂x of them. The network's own initial function is left out (it
is zero on average over θ₀):

    E(x) = Σ_k w_k ∂E(x; θ₀)/∂θ_k,   F(x) = −Σ_k w_k ∂²E(x; θ₀)/∂x∂θ_k

Weights have unit variance and the network divides by the root of every fan-in, as the theory has it. In float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from experiments.data.dataset import Frames
from experiments.models.networks import network
from experiments.models.ntk import NtkConfig
from experiments.regression.closed_form import Geometry, check_frames
from experiments.regression.ladder import Conditions, Ladder
from experiments.regression.least_squares import solve_ladder
from experiments.regression.linearised import LinearisedNetwork, resident


class Ntk:
    """A linearised network as a closed-form model."""

    def __init__(
        self, config: NtkConfig, elements: Sequence[int], neighbours: Callable[[], float] | None = None
    ) -> None:
        self.config = config
        self.elements = list(elements)
        self.network = network(config.network, self.elements, neighbours)

    def accept(self, train: Frames, test: Frames) -> None:
        """Raise `InputError` for unknown elements and positions that are not finite."""
        check_frames(train, self.elements)
        check_frames(test, self.elements)

    def linearised(self, weights: Mapping[str, Tensor]) -> LinearisedNetwork:
        """Linearise the network around `weights`."""
        return LinearisedNetwork(self.network, weights, self.elements, self.config.cutoff)

    def initial(self, frames: Frames, seed: int) -> dict[str, Tensor]:
        """Draw initial weights, with the mean number of neighbours in `frames`, which must not depend on P."""
        tensors = resident(frames, self.config.cutoff, self.elements).tensors
        weights = self.network.init(seed, torch.float64)
        constant = "constant.inverse_neighbours"
        if constant in weights:
            weights[constant] = tensors["atoms"].sum() / tensors["mask"].sum().clamp(min=1.0)
        return weights

    def ladder(self, frames: Frames, sizes: Sequence[int], conditions: Conditions) -> Ladder:
        """Fit by least squares, around the initial weights of the seed."""
        config, weights = self.config, self.initial(conditions.sample(frames), conditions.seed)
        fit_weights = (config.energy_weight, config.force_weight)
        found = solve_ladder(
            self.linearised(weights), frames, sizes, fit_weights, conditions, "a smaller model.channels"
        )
        stored = {f"initial.{name}": value for name, value in weights.items()}
        solutions = [replace(one, tensors={**one.tensors, **stored}) for one in found.solutions]
        return replace(found, solutions=solutions)

    def geometry(self, tensors: Mapping[str, Tensor]) -> Geometry:
        """Return the function that predicts from the coefficients, around the stored initial weights."""
        stored = {name.removeprefix("initial."): value for name, value in tensors.items() if name != "coefficients"}
        model, coefficients = self.linearised(stored), tensors["coefficients"].numpy()
        return lambda frames: model.predict_all(coefficients[None], frames)[0]
