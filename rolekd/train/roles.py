"""The networks of the two roles, built from parameters and data."""

from typing import TYPE_CHECKING

from torch import nn

from rolekd import seeds
from rolekd.data.dataset import Dataset
from rolekd.models import build
from rolekd.quantize.convert import convert, copy_matching

if TYPE_CHECKING:
    from rolekd.params import StudentParams, TeacherParams


def teacher(params: "TeacherParams", dataset: Dataset, seed: int) -> nn.Module:
    """Build the untrained full-precision teacher."""
    return build(
        params.model.name,
        classes=len(dataset.classes),
        channels=dataset.channels,
        image_size=dataset.image_size,
        width=params.model.width,
        seed=seeds.derive(seed, "initial weights"),
    )


def student(
    params: "StudentParams", dataset: Dataset, seed: int, teacher: nn.Module | None = None
) -> nn.Module:
    """Build the low-bit student; it starts from the teacher's weights where shapes agree."""
    network = convert(
        build(
            params.model.name,
            classes=len(dataset.classes),
            channels=dataset.channels,
            image_size=dataset.image_size,
            width=params.model.width,
            seed=seeds.derive(seed, "initial weights"),
        ),
        weight_bits=params.bits,
        activation_bits=params.activation_bits or params.bits,
    )
    if teacher is not None:
        copy_matching(network, teacher)
    return network
