"""Symbolic values of a network that is being lowered, and how they become operations.

A value is an affine combination of tensors, so BatchNorm and residual additions only change its
coefficients; a ReLU or a maximum waits, and the quantiser that follows takes it into its
rounding. Values without a quantiser are written as float operations.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rolekd.quantize import operations
from rolekd.quantize.first_convolution import Filters
from rolekd.quantize.quantizer import Levels

_INT8_MIN, _INT8_MAX, _UINT8_MAX = -128, 127, 255


@dataclass(frozen=True)
class RawImage:
    """The raw image."""


@dataclass(frozen=True)
class Vector:
    """A flat float tensor [N, features], by the name of its operation."""

    name: str


@dataclass(frozen=True)
class LevelMap:
    """An integer feature map, by the name of its operation: `unit` times the levels."""

    name: str
    channels: int
    levels: Levels
    unit: int

    @property
    def step(self) -> float:
        """The value of one unit of the stored integers."""
        return self.levels.step / self.unit


@dataclass(frozen=True)
class ScaledTensor:
    """A tensor and its scales: float64 [C]; the other fields say what kind of tensor it is.

    Attributes:
        source: the map of levels, if it is one.
        real: whether it is a float tensor, not sums.
        filters: of the first convolution, if it is that and not written yet.
    """

    name: str
    scale: Tensor
    source: LevelMap | None = None
    real: bool = False
    filters: Filters | None = None


@dataclass(frozen=True)
class Combination:
    """Terms plus a bias (float64 [C]), then the waiting monotone operations in their order."""

    terms: tuple[ScaledTensor, ...]
    bias: Tensor
    waiting: tuple[operations.Relu | operations.MaxPool, ...] = ()

    def transformed(self, scale: Tensor, shift: Tensor) -> "Combination":
        """Return scale * self + shift, per channel."""
        terms = tuple(replace(term, scale=term.scale * scale) for term in self.terms)
        return Combination(terms, self.bias * scale + shift)

    def plus(self, other: "Combination") -> "Combination":
        """Return the sum of both."""
        return Combination(self.terms + other.terms, self.bias + other.bias)

    def then(self, operation: operations.Relu | operations.MaxPool) -> "Combination":
        """Return the value after one more monotone operation."""
        return replace(self, waiting=(*self.waiting, operation))


Symbol = RawImage | Vector | LevelMap | Combination


def real(name: str, channels: int) -> Combination:
    """Return a float feature map as a combination of itself alone."""
    one = torch.ones(channels, dtype=torch.float64)
    return Combination((ScaledTensor(name, one, real=True),), torch.zeros_like(one))


def dequantized(value: LevelMap) -> Combination:
    """Return the values that a map of levels represents."""
    scale = torch.full((value.channels,), value.step, dtype=torch.float64)
    return Combination((ScaledTensor(value.name, scale, value),), torch.zeros_like(scale))


class Writer:
    """Appends operations in the order of execution."""

    def __init__(self) -> None:
        self.operations: list[operations.IntegerOperation] = []

    def emit(self, operation: operations.IntegerOperation) -> str:
        """Append an operation; return its name."""
        self.operations.append(operation)
        return operation.name

    def materialize(self, value: Combination, name: str) -> str:
        """Write a combination out as a float tensor; return its name."""
        first, *others = value.terms
        made = first.name
        plain = first.real and not others and bool((first.scale == 1).all())
        if not plain or value.bias.any():
            made = self.emit(self._affine(f"{name}.affine", value))
        for index, operation in enumerate(value.waiting):
            made = self.emit(replace(operation, name=f"{name}.{index}", inputs=(made,)))
        return made

    def requantize(self, value: Combination, name: str, target: Levels) -> LevelMap:
        """Round a combination to levels.

        A sum with levels of the same step stays integer if it fits 8 bits: the other term is
        rounded, then added.
        """
        for operation in value.waiting:
            if isinstance(operation, operations.Relu):
                highest = target.high if operation.limit is None else operation.limit / target.step
                target = replace(
                    target, low=max(target.low, 0), high=min(target.high, round(highest))
                )
        pools = [
            operation for operation in value.waiting if isinstance(operation, operations.MaxPool)
        ]
        made = self._rounded(value, f"{name}.rounded" if pools else name, target)
        for index, pool in enumerate(pools, start=1):  # a maximum commutes with rounding
            label = name if index == len(pools) else f"{name}.{index}"
            made = self.emit(replace(pool, name=label, inputs=(made,)))
        return LevelMap(made, len(value.bias), target, _unit(target))

    def _rounded(self, value: Combination, name: str, target: Levels) -> str:
        low, high, unit = target.low, target.high, _unit(target)
        scale = torch.full_like(value.bias, 1 / target.step)
        scaled = value.transformed(scale, torch.zeros_like(scale))
        for index, residual in enumerate(value.terms):
            source = residual.source
            if source is None or len(value.terms) != 2 or source.levels.step != target.step:
                continue
            if source.unit != unit or not bool((residual.scale == source.step).all()):
                continue
            bounds = low - source.levels.high, high - source.levels.low
            if bounds[0] < _INT8_MIN or bounds[1] > _INT8_MAX:
                continue
            branch = replace(scaled, terms=(scaled.terms[1 - index],))
            rounded = self._requantize(f"{name}.branch", branch, *bounds, unit=1)
            return self.emit(operations.AddLevels(name, (rounded, residual.name), low, high, unit))
        return self._requantize(name, scaled, low, high, unit=unit)

    def _requantize(self, name: str, value: Combination, low: int, high: int, *, unit: int) -> str:
        affine = self._affine(name, value)
        return self.emit(
            operations.Requantize(
                name, affine.inputs, affine.scales, affine.bias, low=low, high=high, unit=unit
            )
        )

    def _affine(self, name: str, value: Combination) -> operations.Affine:
        """Return a combination as an operation; a first convolution in it takes in the bias."""
        bias, inputs, scales = value.bias, [], []
        for term in value.terms:
            made, scale = term.name, term.scale
            if term.filters is not None:
                operation, scale, bias = term.filters.convolution(scale, bias)
                uses = sum(made == other.name.partition("@")[0] for other in self.operations)
                made = self.emit(replace(operation, name=f"{made}@{uses}" if uses else made))
            inputs.append(made)
            scales.append(scale.float())
        return operations.Affine(name, tuple(inputs), tuple(scales), bias.float())


def _unit(levels: Levels) -> int:
    """Return the whole number that brings the highest level closest to 255, not above."""
    return _UINT8_MAX // levels.high if levels.low == 0 else 1
