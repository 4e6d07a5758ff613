"""The description of a network in a weights file, checked as a schema before it is used.

A key that is lost, misspelt or of another version would build another network, into which the
weights may well fit.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from rolekd.errors import InputError
from rolekd.models import zoo
from rolekd.params import Bits, Channels, Fraction, OpenFraction, Side, Width

# images of more classes than these would be sheets of names
Classes = Annotated[int, Field(ge=1, le=65_536)]


class _Network(BaseModel):
    """What describes the network of either role."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    model: Annotated[str, Field(min_length=1)]
    width: Width | None
    classes: Classes
    channels: Channels
    image_size: Annotated[list[Side], Field(min_length=2, max_length=2)]
    # about the data
    class_names: Annotated[list[str], Field(min_length=1)]
    data_digest: str

    @field_validator("width")
    @classmethod
    def _ours_have_a_width(cls, width: int | None, info: ValidationInfo) -> int | None:
        if width is None and info.data.get("model") in zoo.OURS:
            raise ValueError("is null, and the network has one")
        return width


class _Normalization(BaseModel):
    """How the images of a network were normalised."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    mean: Annotated[list[Fraction], Field(min_length=1, max_length=3)]
    std: Annotated[list[OpenFraction], Field(min_length=1, max_length=3)]


class _Teacher(_Network):
    role: Literal["teacher"]
    normalization: _Normalization


class _Student(_Network):
    role: Literal["student"]
    quantizer: Literal["dorefa", "lsq"]
    weight_bits: Bits
    activation_bits: Bits
    residual: Literal["quantized", "float"]
    overrides: dict[str, Bits | Literal["float"]]
    ends: Literal[8] | None = None  # absent: float
    # about the training; they do not decide anything
    copied_from_teacher: Fraction | None = None
    copied_from_weights: Fraction | None = None
    arm: str | None = None
    seed: int | None = None


_SCHEMA: TypeAdapter[_Teacher | _Student] = TypeAdapter(
    Annotated[_Teacher | _Student, Field(discriminator="role")]
)


def check(about: Any, path: Path) -> None:
    """Raise `InputError` if `about`, from the file `path`, does not describe a network of ours."""
    try:
        _SCHEMA.validate_python(about)
    except ValidationError as error:
        fault = error.errors()[0]
        # the first step is the role; if that is wrong, there is no step
        key = ".".join(map(str, fault["loc"][1:])) or "role"
        raise InputError(
            f"{path}: does not describe its network ({key}: {fault['msg']}); "
            "run the stage that writes it again, or name a file that it has written"
        ) from error
