"""Opening a registered version: only the file that was registered, not code that it names.

MLflow opens a version by importing what its `MLmodel` names (`loader_module`, `code`) and running
the file that it names (`data`). So anyone who can write to the artifact store can run code where
the version is opened. Here `MLmodel` is data to be checked, and we start the network ourselves.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekd import files, yamlfiles
from rolekd.errors import InputError, one_line
from rolekd.export import session
from rolekd.registry import versions
from rolekd.registry.evidence import FILE as EVIDENCE_FILE
from rolekd.track import places
from rolekd.track.client import reachable

GRAPH_FILE = "model.onnx"  # MLflow's name for it in a version's folder
_ADDRESS = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d{1,9})|(?P<alias>@[\w-]+))")
_DESCRIPTION_FILE = "MLmodel"
_DESCRIPTION_BYTES = 2**20  # ours have 2 kB plus the names of the classes
# what MLflow reads of each flavor to load it; the flavors are these two and no other
_FLAVORS: dict[str, dict[str, str | None]] = {
    "onnx": {"data": GRAPH_FILE, "code": None},
    "python_function": {"data": GRAPH_FILE, "code": None, "loader_module": "mlflow.onnx"},
}


@dataclass(frozen=True)
class Fetched:
    """The files of a registered version on this machine.

    Attributes:
        origin: name of the version in errors.
        graph: the file of its network.
        sha256: of that file, as the registry knows it.
        evidence: the file of its evidence; it need not be there.
    """

    origin: str
    graph: Path
    sha256: str
    evidence: Path

    def open(self) -> session.Session:
        """Start the network, if the file is the one that was registered; see `session.load`."""
        return session.load(self.graph, sha256=self.sha256, name=self.origin)


def fetch(
    name: str, reference: str, folder: Path, uri: str, *, origin: str | None = None
) -> Fetched:
    """Download a version into `folder` and check its description.

    Args:
        name: registered name.
        reference: a number, or an alias with its @.
        folder: empty, or to be created.
        uri: MLflow tracking URI.
        origin: name of the version in errors; None: its address.

    Raises:
        InputError: the version is not there, or its description names something other than its
            network.
        RunError: MLflow does not answer.
    """
    import mlflow

    slash = "" if reference.startswith("@") else "/"
    origin = origin or f"models:/{name}{slash}{reference}"
    with reachable(uri):
        client = mlflow.MlflowClient(uri)
        version = versions.find_version(client, name, reference)
        if version is None:
            raise _absent(origin, name, reference)
        source = client.get_model_version_download_uri(name, version.version)
        kept = places.local(source)
        if kept is not None and not kept.is_dir():
            raise InputError(
                f"{origin}: its files are not in {kept}; copy {places.MLRUNS_FOLDER}/ from where "
                "the project was, or register it again with `dvc repro -f register`"
            )
        folder.mkdir(parents=True, exist_ok=True)
        content = Path(
            mlflow.artifacts.download_artifacts(
                source, dst_path=str(folder), tracking_uri=uri, registry_uri=uri
            )
        )
    _check(_description(content / _DESCRIPTION_FILE, origin), origin)
    graph = content / GRAPH_FILE
    if not graph.is_file():
        raise InputError(
            f"{origin}: {GRAPH_FILE} is not among its files in {source}; register it again with "
            "`dvc repro -f register`"
        )
    # a version that others registered does not have the tag: take the file as it is
    sha256 = version.tags.get("sha256") or files.sha256(graph)
    return Fetched(origin, graph, sha256, content / "extra_files" / EVIDENCE_FILE)


def fetch_address(address: str, folder: Path, uri: str) -> Fetched:
    """Download the version that an address such as models:/NAME@champion names; see `fetch`.

    Raises:
        InputError: it is not such an address, or nothing is registered there.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise InputError(
            f"--model {address}: not the address of a registered model; write "
            f"models:/NAME@champion "
            "or models:/NAME/1"
        )
    return fetch(found["name"], found["alias"] or found["version"], folder, uri)


def _absent(origin: str, name: str, reference: str) -> InputError:
    if reference == f"@{versions.CHAMPION}":
        return InputError(
            f"{origin}: {name} has no champion; make one with `rolekd promote`, or name a version "
            f"with --model models:/{name}/NUMBER"
        )
    return InputError(f"{origin}: no such version is registered; {versions.HOW_TO_LIST}")


def _description(path: Path, origin: str) -> Any:
    """Return what a version's MLmodel says, as plain values."""
    try:
        text = files.read_bytes(path, _DESCRIPTION_BYTES).decode()
        return yamlfiles.parse(text, _DESCRIPTION_FILE)
    except (OSError, UnicodeDecodeError, InputError) as error:
        # not the place to which it was downloaded, which is gone when this is read
        reason = (isinstance(error, OSError) and error.strerror) or one_line(error, 200)
        raise InputError(
            f"{origin}: its {_DESCRIPTION_FILE} cannot be read ({reason}); register it again"
        ) from error


def _check(description: Any, origin: str) -> None:
    """Refuse a version of which MLflow would load anything but its network."""
    flavors = description.get("flavors") if isinstance(description, dict) else None
    if not isinstance(flavors, dict) or flavors.keys() != _FLAVORS.keys():
        named = sorted(map(str, flavors)) if isinstance(flavors, dict) else flavors
        raise InputError(
            f"{origin}: its {_DESCRIPTION_FILE} has the flavors {named!r:.100}, not those of an "
            "ONNX model; register it again with `dvc repro register`"
        )
    for flavor, wanted in _FLAVORS.items():
        entries = flavors[flavor] if isinstance(flavors[flavor], dict) else {}
        for key, value in wanted.items():
            found = entries.get(key)
            if found != value:
                raise InputError(
                    f"{origin}: its {_DESCRIPTION_FILE} has {found!r:.100} as {key} of {flavor}, "
                    f"where {value!r} was registered; find out who changed it, and register again"
                )
