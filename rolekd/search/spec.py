"""What a search is: everything that decides its result, as JSON, and the fingerprint of that."""

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rolekd import code, files
from rolekd.params import SearchParams

# libraries whose version can change a search's numbers
_LIBRARIES = ("torch", "numpy", "numba", "optuna")


@dataclass(frozen=True)
class SearchSpec:
    """A search; the stored copy of it is all that a worker on another machine is told.

    Attributes:
        seed: Base seed of all its random streams.
        role: "teacher" or "student".
        trainer: Name in the registry of `rolekd.search.trainer`.
        search: Size of the population, length, exploration, threads of each worker.
        training: JSON-able; whatever else decides the trainer's arithmetic.
        inputs: Path of each input file, relative to the folder of inputs -> its SHA-256.
        versions: Name of a library, of Python, or "rolekd code" -> its version.
        epochs: Of a whole training, as the final's are.
        given: Further candidates of the final: name -> JSON of a schedule.
    """

    seed: int
    role: str
    trainer: str
    search: SearchParams
    training: Mapping[str, Any]
    inputs: Mapping[str, str]
    versions: Mapping[str, str]
    epochs: int
    given: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON-able values."""
        return {**vars(self), "search": self.search.model_dump(mode="json")}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SearchSpec":
        """Make a spec of what `to_json` returned."""
        return cls(**{**value, "search": SearchParams.model_validate(value["search"])})

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of everything in the spec."""
        return files.digest(self.to_json())

    @property
    def name(self) -> str:
        """Name of the study: the role and the first digits of the fingerprint."""
        return f"{self.role}-{self.fingerprint[:12]}"


def hash_inputs(folder: Path) -> dict[str, str]:
    """Return the relative path -> SHA-256 of every file in a folder of inputs."""
    return {
        file.relative_to(folder).as_posix(): files.sha256(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def versions() -> dict[str, str]:
    """Return what must be the same on every machine that works on a search."""
    found = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    found["python"] = ".".join(platform.python_version_tuple()[:2])
    found["rolekd code"] = code.version()
    return found


def differences(stored: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Name every leaf in which two JSON objects differ, as "key.key: theirs there, ours here"."""
    there, here = _leaves(stored), _leaves(ours)
    return [
        f"{key}: {there.get(key, 'absent')} there, {here.get(key, 'absent')} here"
        for key in sorted({*there, *here})
        if there.get(key, _ABSENT) != here.get(key, _ABSENT)
    ]


_ABSENT = object()


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: list(value) if isinstance(value, tuple) else value}
    leaves: dict[str, Any] = {}
    for key, item in value.items():
        leaves |= _leaves(item, f"{prefix}.{key}" if prefix else str(key))
    return leaves
