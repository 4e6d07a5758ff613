"""The networks of the two roles: built from parameters, saved with what rebuilds them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from rolekd import seeds
from rolekd.data.dataset import Dataset
from rolekd.errors import InputError, few
from rolekd.models import zoo
from rolekd.models.weights import copy_matching
from rolekd.quantize.convert import convert
from rolekd.quantize.modules import set_pixels
from rolekd.train import damping, state

if TYPE_CHECKING:
    from rolekd.params import StudentParams, TeacherParams

_NAMED = 3  # of the classes in an error
_QUANTIZATION = ("quantizer", "weight_bits", "activation_bits", "residual", "overrides", "ends")


def teacher(
    params: "TeacherParams", dataset: Dataset, seed: int
) -> tuple[nn.Module, dict[str, Any]]:
    """Build the untrained full-precision teacher; return it with its description."""
    about = describe_teacher(params, shape_of(dataset))
    return build(about, seed), {**about, **_data_of(dataset)}


def student(
    params: "StudentParams", dataset: Dataset, seed: int, teacher: nn.Module | None
) -> tuple[nn.Module, dict[str, Any]]:
    """Build the low-bit student, from the teacher's weights where shapes agree; None: from scratch.

    Returns:
        The student and the description from which `load` builds it again.
    """
    about = {**describe_student(params, shape_of(dataset)), **_data_of(dataset)}
    network = build(about, seed)
    set_pixels(network, dataset.mean, dataset.std)
    damping.damp(network, params.damping)
    copied = set() if teacher is None else set(copy_matching(network, teacher))
    sizes = {name: value.numel() for name, value in network.named_parameters()}
    # told, since with other widths next to nothing agrees
    about["copied_from_teacher"] = round(
        sum(size for name, size in sizes.items() if name in copied) / sum(sizes.values()), 4
    )
    return network, about


def load(path: Path | str, dataset: Dataset) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network that a weights file describes, with its weights, for evaluation.

    Raises:
        InputError: The file is none of ours, does not say all of its network, or the network was
            trained for other images or classes.
    """
    from rolekd.train import description  # not where networks are only trained: needs pydantic

    path = Path(path)
    tensors, about = state.read_weights(path)
    description.check(about, path)
    for key, value in shape_of(dataset).items():
        if about.get(key) != value:
            raise InputError(
                f"{path}: trained for {key} {about.get(key)}, the data has {value}; "
                "train again on this data"
            )
    _check_classes(about.get("class_names"), dataset.classes, path)
    try:
        network = build(about, seed=0)
    except InputError as error:  # of a name in the file, which does not know its file
        raise InputError(f"{path}: {error}") from error
    state.set_weights(network, tensors, path)
    return network.eval(), about


def describe_teacher(params: "TeacherParams", shape: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the network; `shape` has its classes, channels and image_size."""
    return {
        "role": "teacher",
        "model": params.model.name,
        "width": params.model.width,
        **shape,
    }


def describe_student(params: "StudentParams", shape: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the network; `shape` has its classes, channels and image_size."""
    return {
        "role": "student",
        "model": params.model.name,
        "width": params.model.width,
        "quantizer": params.quantizer,
        "weight_bits": params.bits,
        "activation_bits": params.activation_bits or params.bits,
        "residual": params.residual,
        "overrides": dict(params.overrides),
        **({} if params.ends == "float" else {"ends": params.ends}),
        **shape,
    }


def build(about: Mapping[str, Any], seed: int) -> nn.Module:
    """Build the network of a description, with initial weights."""
    height, width = about["image_size"]
    network = zoo.build(
        about["model"],
        classes=about["classes"],
        channels=about["channels"],
        image_size=(height, width),
        width=about["width"],
        seed=seeds.derive(seed, "initial weights"),
    )
    if "quantizer" not in about:
        return network
    return convert(network, **{key: about[key] for key in _QUANTIZATION if key in about})


def shape_of(dataset: Dataset) -> dict[str, Any]:
    """Return what a data set decides of a network: classes, channels, image_size."""
    return {
        "classes": len(dataset.classes),
        "channels": dataset.channels,
        "image_size": list(dataset.image_size),
    }


def _data_of(dataset: Dataset) -> dict[str, Any]:
    """Return what travels with weights beside their network: whose they are."""
    return {"class_names": list(dataset.classes), "data_digest": dataset.digest}


def _check_classes(names: Sequence[str] | None, wanted: Sequence[str], path: Path) -> None:
    """Refuse weights of other classes, or of these in another order; None: a file of before."""
    if names is None or list(names) == list(wanted):
        return
    if sorted(names) == sorted(wanted):
        first = next(place for place, name in enumerate(wanted) if names[place] != name)
        raise InputError(
            f"{path}: trained for the same classes in another order (class {first} is "
            f"{names[first]} there, {wanted[first]} in the data); train again on this data"
        )
    missing = [name for name in names if name not in wanted]
    raise InputError(
        f"{path}: trained for other classes ({few(missing, _NAMED)} not in the data); train again "
        "on this data"
    )
