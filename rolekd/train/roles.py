"""The networks of the two roles: built from parameters, saved with what rebuilds them."""

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from torch import nn

from rolekd import seeds
from rolekd.data.dataset import Dataset
from rolekd.errors import InputError, brief, few
from rolekd.models import zoo
from rolekd.models.normalized import NormalizedConv2d, between
from rolekd.models.weights import copy_matching, match, stem_path
from rolekd.params import Params, Role, StudentParams, TeacherParams
from rolekd.quantize.convert import convert
from rolekd.quantize.modules import set_pixels
from rolekd.train import damping, pretrained, state

_NAMED = 3  # of the classes in an error
_TAKEN = ("role", "model", "channels")  # what a teacher that is taken must agree in
_QUANTIZATION = ("quantizer", "weight_bits", "activation_bits", "residual", "overrides", "ends")


def teacher(params: TeacherParams, dataset: Dataset, seed: int) -> tuple[nn.Module, dict[str, Any]]:
    """Build the full-precision teacher as its training begins; return it with its description.

    Without `params.train` it is as it was trained elsewhere.
    """
    about = describe_teacher(params, shape_of(dataset))
    network = build(about, seed)
    about |= _data_of(dataset)
    about["normalization"] = pretrained.of_data(dataset)
    if params.weights is None:
        return network, about
    path = pretrained.beside(dataset, "teacher")
    if not params.train:
        _check_taken(params, dataset, about)
    pretrained.load_into(network, path, dataset, whole=not params.train)
    if not params.train:
        theirs = pretrained.normalization(state.read_weights(path)[1], path)
        about["normalization"] = theirs or about["normalization"]
        _normalize(network, about, dataset)
    return network, about


def _check_taken(params: TeacherParams, dataset: Dataset, about: Mapping[str, Any]) -> None:
    """Refuse a trained teacher of other classes, since equal shapes do not show them."""
    theirs = _of_weights(dataset, "teacher")
    named = f"teacher.weights: {params.weights}"
    pretrained.require_same(theirs, {key: about[key] for key in _TAKEN}, named)
    names = theirs.get("class_names", list(dataset.classes))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{named}: class_names is not a list of names; import the weights again")
    _check_classes(names, dataset.classes, named, "set teacher.train to true")


def told_of_size(dataset: Dataset) -> str | None:
    """Say for which image size a trained teacher was trained, if its file says another one."""
    theirs, ours = _of_weights(dataset, "teacher").get("image_size"), list(dataset.image_size)
    if theirs in (None, ours):
        return None
    return f"trained with image_size {brief(theirs)}, here it is {ours}"


def _of_weights(dataset: Dataset, role: Role) -> Mapping[str, Any]:
    """Return how the file of a role's initial weights describes them, as far as it does."""
    about = state.read_weights(pretrained.beside(dataset, role))[1]
    return about if isinstance(about, dict) else {}


def student(
    params: StudentParams, dataset: Dataset, seed: int, teacher: nn.Module | None
) -> tuple[nn.Module, dict[str, Any]]:
    """Build the low-bit student, from the teacher's weights where shapes agree; None: from scratch.

    Where `params.weights` names weights, it begins with these instead.

    Returns:
        The student and the description from which `load` builds it again.
    """
    about = {**describe_student(params, shape_of(dataset)), **_data_of(dataset)}
    adopted, copied = set[str](), set[str]()
    floats = build_float(about, seed)
    if params.weights is not None:
        path = pretrained.beside(dataset, "student")
        adopted = set(pretrained.load_into(floats, path, dataset).copied)
    network = _converted(floats, about)
    set_pixels(network, dataset.mean, dataset.std)
    damping.damp(network, params.damping)
    if teacher is not None and params.weights is None:
        copied = set(copy_matching(network, teacher))
    # reported, since almost nothing agrees if the widths differ
    about["copied_from_teacher"] = _share(network, copied)
    if adopted:
        about["copied_from_weights"] = _share(network, adopted)
    return network, about


def told_of_weights(
    params: TeacherParams | StudentParams, dataset: Dataset, role: Role
) -> str | None:
    """Describe which of its initial weights a role's network uses, if any."""
    if params.weights is None:
        return None
    path = pretrained.beside(dataset, role)
    network = build_float(_described(params, shape_of(dataset)), seed=0)
    return f"{role}.weights: {params.weights}: {match(network, state.read_weights(path)[0])}"


def _share(network: nn.Module, names: Set[str]) -> float:
    """Return the share of a network's parameters that have these names."""
    sizes = {name: value.numel() for name, value in network.named_parameters()}
    return round(sum(sizes[n] for n in sizes.keys() & names) / sum(sizes.values()), 4)


def load(path: Path | str, dataset: Dataset) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network that a weights file describes, with its weights, for evaluation.

    Raises:
        InputError: The file is not ours, does not fully describe its network, or the network was
            trained for other images or classes.
    """
    from rolekd.train import description  # needs pydantic, which training alone does not

    path = Path(path)
    tensors, about = state.read_weights(path)
    description.check(about, path)
    for key, value in shape_of(dataset).items():
        if about.get(key) != value:
            raise InputError(
                f"{path}: trained for {key} {about.get(key)}, the data has {value}; "
                "train again on this data"
            )
    _check_classes(about["class_names"], dataset.classes, path)
    try:
        network = build(about, seed=0)
    except InputError as error:  # about a name in the file; it does not say in which file
        raise InputError(f"{path}: {error}") from error
    state.set_weights(network, tensors, path)
    _normalize(network, about, dataset)
    return network.eval(), about


def _normalize(network: nn.Module, about: Mapping[str, Any], dataset: Dataset) -> None:
    """Adapt a network trained with another normalisation to that of the data."""
    ours, theirs = pretrained.of_data(dataset), about.get("normalization")
    if theirs is None or theirs == ours:
        return
    path = stem_path(network)
    if path is None:
        raise InputError(f"model {about['model']}: has no convolution that could normalise images")
    stem = network.get_submodule(path)
    assert isinstance(stem, nn.Conv2d)
    network.set_submodule(path, NormalizedConv2d(stem, *between(ours, theirs)))


def describe(params: Params, role: Role, shape: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides a role's network; `shape` as `shape_of` returns it."""
    if role == "teacher":
        return describe_teacher(params.teacher, shape)
    return describe_student(params.student, shape)


def describe_teacher(params: TeacherParams, shape: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the network; `shape` has its classes, channels and image_size."""
    return {"role": "teacher", **_described(params, shape)}


def _described(params: TeacherParams | StudentParams, shape: Mapping[str, Any]) -> dict[str, Any]:
    name, width = params.model.name, params.model.width
    return {"model": name, "width": zoo.width_of(name, width), **shape}


def describe_student(params: StudentParams, shape: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the network; `shape` has its classes, channels and image_size."""
    return {
        "role": "student",
        "quantizer": params.quantizer,
        "weight_bits": params.bits,
        "activation_bits": params.activation_bits or params.bits,
        "residual": params.residual,
        "overrides": dict(params.overrides),
        **({} if params.ends == "float" else {"ends": params.ends}),
        **_described(params, shape),
    }


def build(about: Mapping[str, Any], seed: int) -> nn.Module:
    """Build the network of a description, with initial weights."""
    return _converted(build_float(about, seed), about)


def build_float(about: Mapping[str, Any], seed: int) -> nn.Module:
    """Build the network of a description before anything of it is quantised."""
    height, width = about["image_size"]
    return zoo.build(
        about["model"],
        classes=about["classes"],
        channels=about["channels"],
        image_size=(height, width),
        width=about["width"],
        seed=seeds.derive(seed, "initial weights"),
    )


def _converted(network: nn.Module, about: Mapping[str, Any]) -> nn.Module:
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
    """Return what weights say of the data that they were trained on."""
    return {"class_names": list(dataset.classes), "data_digest": dataset.digest}


def _check_classes(
    names: Sequence[str],
    wanted: Sequence[str],
    path: Path | str,
    remedy: str = "train again on this data",
) -> None:
    """Refuse weights of other classes, or of these in another order."""
    if list(names) == list(wanted):
        return
    if sorted(names) == sorted(wanted):
        first = next(place for place, name in enumerate(wanted) if names[place] != name)
        raise InputError(
            f"{path}: trained for the same classes in another order (class {first} is "
            f"{names[first]} there, {wanted[first]} in the data); {remedy}"
        )
    missing = [name for name in names if name not in wanted]
    new = [name for name in wanted if name not in names]
    differ = f"{few(missing, _NAMED)} not in the data" if missing else f"without {few(new, _NAMED)}"
    raise InputError(f"{path}: trained for other classes ({differ}); {remedy}")
