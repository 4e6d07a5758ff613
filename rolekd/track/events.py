"""The records of a spool: one JSON object a line, in the order in which they were made."""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NotRequired, TypeAlias, cast

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # Python 3.12's, which pydantic asks for

Event: TypeAlias = dict[str, Any]


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if parts[:1] != ("artifacts",) or ".." in parts:
        raise ValueError("leads out of the spool")
    return path


class _Record(TypedDict):
    run: str
    time: int  # milliseconds since 1970


class _Start(_Record):
    event: Literal["start"]
    name: str
    experiment: str
    parent: str | None
    tags: dict[str, str]
    shared: NotRequired[bool]  # other spools speak of it, too: it may be there
    store: NotRequired[str]  # the address it was meant for, without user and password


class _Params(_Record):
    event: Literal["params"]
    params: dict[str, str]


class _Metrics(_Record):
    event: Literal["metrics"]
    metrics: dict[str, float]
    step: int


class _Tags(_Record):
    event: Literal["tags"]
    tags: dict[str, str]


class _Dataset(_Record):
    event: Literal["dataset"]
    name: str
    digest: str
    context: str
    source: str
    profile: dict[str, Any]


class _Artifact(_Record):
    event: Literal["artifact"]
    path: Annotated[str, AfterValidator(_inside)]
    target: str


class _End(_Record):
    event: Literal["end"]
    status: Literal["FINISHED", "FAILED", "KILLED"]
    shared: NotRequired[bool]


_Any = Annotated[
    _Start | _Params | _Metrics | _Tags | _Dataset | _Artifact | _End, Field(discriminator="event")
]
_SCHEMA: TypeAdapter[Any] = TypeAdapter(_Any)


def parse(line: bytes) -> Event:
    """Return the record of a line.

    Raises:
        ValueError: It is none; the message is one line.
    """
    try:
        return cast(Event, _SCHEMA.validate_json(line))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}".removeprefix(": ")) from None
