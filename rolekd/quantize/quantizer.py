"""The interface of quantisers: fake quantisation for training, integers for deployment."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Levels:
    """The values of a quantised tensor: `step` times the integers `low` .. `high`."""

    step: float
    low: int
    high: int


class WeightQuantizer(nn.Module, ABC):
    """Maps float weights to a few equidistant values, differentiably.

    Attributes:
        active: False: weights pass unchanged; see `rolekd.quantize.switch`.
        damping: Weight of `distance` in the loss of a training; see `rolekd.train.damping`.
    """

    bits: int
    active: bool = True
    damping: float = 0.0

    @abstractmethod
    def forward(self, weight: Tensor) -> Tensor:
        """Return the quantised weights, of the shape and dtype of `weight`."""

    @abstractmethod
    def integers(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return (int32 weights of the same shape, float64 step), whose product is `forward`."""

    def levels(self, weight: Tensor) -> Tensor:
        """Return the integers alone, even before the first batch."""
        return self.integers(weight)[0]

    @abstractmethod
    def distance(self, weight: Tensor) -> Tensor:
        """Return the sum of squared distances of weights to the centres of their levels, a scalar.

        The unit is the gap between two neighbouring levels, so a weight halfway adds 1/4. Centres,
        range and gap are constants to the gradient; weights beyond the range get none.
        """


class ActivationQuantizer(nn.Module, ABC):
    """Maps activations to a few equidistant levels, differentiably.

    Attributes:
        active: False: activations pass unchanged; see `rolekd.quantize.switch`.
        clips: Negative inputs become zero, and inputs of zero or less pass no gradient.
    """

    bits: int
    active: bool = True
    clips: bool = False

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return the quantised activations, of the shape and dtype of `x`."""

    @abstractmethod
    def levels(self) -> Levels:
        """Return step and range of the integers that stand for the activations."""
