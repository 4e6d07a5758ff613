"""RKD on the CPU in compiled passes, value and gradient at once.

Its torch form in `rolekd.distill.logits` is the reference: the same up to rounding, which is
smaller here, as distances are in float64. In torch, forward and backward of logits [64, 10] took
1.3 ms, a tenth of a small student's step, for a hundred operations on small tensors
(results/step.md).
"""

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rolekd import flat
from rolekd.distill.term import TINY
from rolekd.jit import entry, inner

_LOW, _HALF, _HIGH = np.float32(-1), np.float32(0.5), np.float32(1)
_FLAT, _CUBE = numba.float32[::1], numba.float32[:, :, ::1]
_ROWS, _VECTOR, _MATRIX = numba.float32[:, ::1], numba.float64[::1], numba.float64[:, ::1]


class _Pairs:
    """Embeddings [B, D] of length 1, with the distances and directions between them.

    Attributes:
        lengths: float64 [B], of the given embeddings.
        units: float64 [B, D].
        distances: float64 [B, B]; 0 where two coincide.
        directions: float32 [B, B, D], at [j, i] from j to i; 0 where they coincide.
    """

    def __init__(self, embeddings: Tensor) -> None:
        count, width = embeddings.shape
        self.lengths, self.units = np.empty(count), np.empty((count, width))
        self.distances = np.empty((count, count))
        self.directions = embeddings.new_empty(count, count, width)
        _compare(
            embeddings.detach().contiguous().numpy(),
            self.lengths,
            self.units,
            self.distances,
            self.directions.numpy(),
        )


def relations(
    student: Tensor, teacher: Tensor, distance_weight: float, angle_weight: float
) -> tuple[float, Tensor]:
    """Return RKD's loss of embeddings [B, D] and [B, D'] and its gradient to the first."""
    ours, theirs = _Pairs(student), _Pairs(teacher)
    slopes = np.empty_like(ours.distances)
    distance = _distance_loss(ours.distances, theirs.distances, slopes)
    # the cosines at vertex j are D_j D_jᵀ: the gradient to D_j is twice the clipped difference
    # times D_j
    cosines = torch.bmm(ours.directions, ours.directions.mT)
    cosines.baddbmm_(theirs.directions, theirs.directions.mT, alpha=-1)
    angle = huber(cosines) / cosines.numel()
    pulls = torch.bmm(cosines, ours.directions)
    gradient = torch.empty_like(student, memory_format=torch.contiguous_format)
    _differentiate(
        _of(pulls),
        2 * angle_weight / cosines.numel(),
        slopes * distance_weight,
        ours.distances,
        _of(ours.directions),
        ours.lengths,
        ours.units,
        _of(gradient),
    )
    return distance_weight * distance + angle_weight * angle, gradient


def huber(differences: Tensor) -> float:
    """Clip dense differences to -1..1 in place; return the sum of their Huber losses."""
    return float(_huber(flat.values(differences)))


def _of(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[Any] = tensor.detach().numpy()
    return array


@entry(numba.void(_ROWS, _VECTOR, _MATRIX, _MATRIX, _CUBE), **flat.OPTIONS)
def _compare(x: Any, lengths: Any, units: Any, distances: Any, directions: Any) -> None:
    count, width = x.shape
    for i in range(count):
        square = 0.0
        for d in range(width):
            square += np.float64(x[i, d]) * x[i, d]
        length = np.sqrt(square)
        lengths[i] = TINY if length < TINY else length
        distances[i, i] = 0
        for d in range(width):
            units[i, d] = x[i, d] / lengths[i]
            directions[i, i, d] = 0
    for j in range(count):
        for i in range(j + 1, count):
            square = 0.0
            for d in range(width):
                square += (units[i, d] - units[j, d]) ** 2
            # in this form NaN passes and shows in the loss
            distance = 0.0 if square <= TINY else np.sqrt(square)
            scale = 0.0 if square <= TINY else 1 / distance
            distances[j, i] = distances[i, j] = distance
            for d in range(width):
                direction = np.float32((units[i, d] - units[j, d]) * scale)
                directions[j, i, d], directions[i, j, d] = direction, -direction


@inner(**flat.OPTIONS)
def _mean(distances: Any) -> Any:
    """Return the mean over pairs that do not coincide, and their number or 1."""
    total, count = 0.0, 0
    for x in distances.flat:
        total += x
        count += x != 0
    count = max(count, 1)
    return total / count + TINY, count


@entry(numba.float64(_MATRIX, _MATRIX, _MATRIX), **flat.OPTIONS)
def _distance_loss(ours: Any, theirs: Any, slopes: Any) -> Any:
    """Return the mean Huber loss of distances over their means; `slopes` gets its gradient."""
    mean, count = _mean(ours)
    other, _ = _mean(theirs)
    loss, common = 0.0, 0.0
    for j in range(len(ours)):
        for i in range(len(ours)):
            x = ours[j, i] / mean - theirs[j, i] / other
            clipped = -1.0 if x < -1 else x
            clipped = 1.0 if clipped > 1 else clipped
            loss += clipped * (x - 0.5 * clipped)
            common += clipped * ours[j, i]
            slopes[j, i] = clipped
    common /= mean * count
    for j in range(len(ours)):
        for i in range(len(ours)):
            slopes[j, i] = (slopes[j, i] - common) / (mean * ours.size)
    return loss / ours.size


@entry(
    numba.void(
        _CUBE, numba.float64, _MATRIX, _MATRIX, _CUBE, _VECTOR, _MATRIX, _ROWS
    ),
    **flat.OPTIONS,
)  # fmt: skip
def _differentiate(
    pulls: Any,
    scale: Any,
    slopes: Any,
    distances: Any,
    directions: Any,
    lengths: Any,
    units: Any,
    out: Any,
) -> None:
    """Take gradients to directions, times `scale`, and to distances back to embeddings."""
    count, width = units.shape
    gradient = np.zeros((count, width))
    for j in range(count):
        for i in range(j + 1, count):
            if distances[j, i] == 0:
                continue
            along = 0.0
            for d in range(width):
                along += directions[j, i, d] * (pulls[j, i, d] - pulls[i, j, d])
            across = scale / distances[j, i]
            outward = slopes[j, i] + slopes[i, j] - along * across
            for d in range(width):
                pull = across * (pulls[j, i, d] - pulls[i, j, d]) + outward * directions[j, i, d]
                gradient[i, d] += pull
                gradient[j, d] -= pull
    for i in range(count):
        along = 0.0
        for d in range(width):
            along += units[i, d] * gradient[i, d]
        for d in range(width):
            out[i, d] = (gradient[i, d] - units[i, d] * along) / lengths[i]


@inner(**flat.OPTIONS)
def _chunk(x: Any) -> Any:
    # with c the clipped x it is c (x - c / 2); NaN passes
    total = np.float32(0)
    for i in range(x.size):
        clipped = _LOW if x[i] < _LOW else x[i]
        clipped = _HIGH if clipped > _HIGH else clipped
        total += clipped * (x[i] - _HALF * clipped)
        x[i] = clipped
    return total


@entry(numba.float64(_FLAT), **flat.OPTIONS)
def _huber(x: Any) -> Any:
    total = 0.0
    for start in range(0, x.size, flat.CHUNK):
        total += _chunk(x[start : start + flat.CHUNK])
    return total
