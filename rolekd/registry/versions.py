"""The model registry: exported students as versions of one registered model.

The registry needs its store: unlike `runs`, everything here raises when MLflow does not answer.
"""

import importlib.metadata
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rolekd import files
from rolekd.errors import InputError, RunError
from rolekd.registry.evidence import FILE as EVIDENCE_FILE
from rolekd.registry.evidence import Evidence
from rolekd.secrets import redact
from rolekd.track import store
from rolekd.track.client import reachable, tracking
from rolekd.track.health import count_experiments

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature
    from onnx import ModelProto, ValueInfoProto

CHALLENGER = "challenger"
CHAMPION = "champion"
TASK = "image-classification"  # a tag, as the hubs of models call it
_PROVIDERS = ["CPUExecutionProvider"]  # any other is asked for, and warned of, at every load
_NEEDED = ("mlflow", "numpy", "onnx", "onnxruntime")  # to serve a version; inferring takes 10 s
_ALIAS_LIMIT = 200
_PARAM_LIMIT = 6000
HOW_TO_LIST = "`rolekd models --registry` shows what there is"
# MLflow's codes for a model or a version that is not there, and for an alias
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True)
class Version:
    """A registered version: its name, number, model id and alias."""

    name: str
    number: int
    model_id: str

    @property
    def uri(self) -> str:
        """The address that `mlflow models serve -m` and `pyfunc.load_model` take."""
        return f"models:/{self.name}/{self.number}"


@dataclass(frozen=True)
class Description:
    """What a version says about its graph.

    Attributes:
        tags: of the version: data hash, schedule hashes, bits, accuracy, commit, run ids.
        metrics: numbers of the logged model, linked to version and run.
        params: parameters of the logged model.
        evidence: for the gates; without it, the version cannot be promoted.
        card: the model card, Markdown: MLflow's description of the version, and a file beside it.
        dataset: name and digest of the data on which metrics were measured, as the run recorded it.
        model: one sentence about the registered model, if it is new.
    """

    tags: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, object] = field(default_factory=dict)
    evidence: Evidence | None = None
    card: str | None = None
    dataset: tuple[str, str] | None = None
    model: str | None = None


@dataclass(frozen=True)
class Registered:
    """A version as the registry lists it.

    Attributes:
        name: of the registered model.
        number: of the version.
        aliases: that are this version's.
        registered: when, ISO 8601, UTC.
        tags: of the version; see `Description`.
    """

    name: str
    number: int
    aliases: list[str]
    registered: str
    tags: dict[str, str]


def model_name(dataset: str) -> str:
    """Return the registered name of a dataset's student."""
    return f"rolekd-{dataset}-student"


def register(
    onnx_path: Path,
    *,
    name: str,
    run_id: str | None,
    example: NDArray[np.uint8],
    description: Description | None = None,
    alias: str = CHALLENGER,
    uri: str | None = None,
) -> Version:
    """Log an ONNX file as a model of a run, register it as a new version under an alias.

    Args:
        onnx_path: the exported graph, one file, uint8 [N, H, W, C] in.
        name: registered name, see `model_name`.
        run_id: MLflow run that the model belongs to, from `Run.run_id`.
        example: uint8 [n, H, W, C] images, kept beside the model as input example.
        description: what the version says about the graph.
        alias: of the version, see `alias_of`.
        uri: MLflow tracking URI; None: the environment's, else `mlflow.db` of the project.

    Raises:
        InputError: the graph has no uint8 [N, H, W, C] input that fits the example.
        RunError: MLflow does not answer, or the run is not there.
    """
    import mlflow
    import onnx

    description, uri = description or Description(), store.resolve(uri)
    if run_id is None:
        count_experiments(uri)  # one that does not answer, or refuses, is reported as such
        raise RunError(
            f"register: MLflow at {redact(uri)} answers, but does not have the run of this stage; "
            "`rolekd sync` sends it or says why it cannot; then run the stage again"
        )
    graph = onnx.load(onnx_path)
    signature = _signature(graph, example, onnx_path)
    cleaned = {
        **store.cleaned(description.tags, store.TAG_LIMIT),
        "sha256": files.sha256(onnx_path),
    }
    with reachable(uri), tracking(uri):
        client = mlflow.MlflowClient(uri)
        model = client.create_logged_model(
            experiment_id=client.get_run(run_id).info.experiment_id,
            name=name,
            source_run_id=run_id,
            tags=cleaned,
            params=store.cleaned(description.params, _PARAM_LIMIT),
        )
        with tempfile.TemporaryDirectory() as folder:
            beside = _files_beside(Path(folder), description)
            _log_graph(graph, signature, example, model.model_id, run_id, beside)
        _log_metrics(client, run_id, model.model_id, description)
        made = mlflow.register_model(
            f"models:/{model.model_id}", name, tags={**cleaned, "model_id": model.model_id}
        )
        number = int(made.version)
        if description.card:
            client.update_model_version(name, str(number), description.card)
        _describe(client, name, description)
        client.set_registered_model_alias(name, alias, str(number))
    return Version(name, number, model.model_id)


def alias_of(experiment: str | None) -> str:
    """Return the alias of a version: challenger, or that of a DVC experiment."""
    if experiment is None:
        return CHALLENGER
    alias = re.sub(r"[^\w-]", "-", experiment, flags=re.ASCII)[:_ALIAS_LIMIT]
    taken = alias.lower() in (CHALLENGER, CHAMPION, "latest") or re.fullmatch(r"[vV]\d+", alias)
    return f"exp-{alias}" if taken else alias


def make_challenger(name: str, which: str, uri: str) -> int:
    """Make a version the challenger; return its number.

    Args:
        name: registered name.
        which: a number, or the name of a DVC experiment.
        uri: MLflow tracking URI.

    Raises:
        InputError: there is no such version.
        RunError: MLflow does not answer.
    """
    from mlflow import MlflowClient

    with reachable(uri):
        client, known = MlflowClient(uri), all_versions(name, uri)
        aliases = client.get_registered_model(name).aliases if known else {}
        number = int(which) if which.isdecimal() else int(aliases.get(alias_of(which), 0))
        if number not in known:
            named = ", ".join(sorted({*aliases} - {CHALLENGER, CHAMPION})) or "none"
            raise InputError(
                f"register: {name} has no version {which!r}; it has {len(known)} versions, of the "
                f"experiments: {named}"
            )
        client.set_registered_model_alias(name, CHALLENGER, str(number))
    return number


def is_file(name: str, number: int, path: Path, uri: str) -> bool:
    """Return whether a version is this file; a missing file counts as the same."""
    return not path.exists() or all_versions(name, uri)[number].get("sha256") == files.sha256(path)


def _describe(client: "MlflowClient", name: str, description: Description) -> None:
    """Describe the registered model, if it does not have a description."""
    if description.model and not client.get_registered_model(name).description:
        client.update_registered_model(name, description.model)
        client.set_registered_model_tag(name, "task", TASK)


def _files_beside(folder: Path, description: Description) -> list[Path]:
    written = []
    if description.evidence is not None:
        files.write_json(folder / EVIDENCE_FILE, description.evidence.to_json())
        written.append(folder / EVIDENCE_FILE)
    if description.card:
        files.write_text(folder / "MODEL_CARD.md", description.card)
        written.append(folder / "MODEL_CARD.md")
    return written


def find_version(client: "MlflowClient", name: str, reference: str) -> "ModelVersion | None":
    """Return a registered version; None: there is no such model, version or alias.

    Args:
        client: of the store.
        name: registered name.
        reference: a number, or an alias with its @.
    """
    from mlflow.exceptions import MlflowException

    try:
        if reference.startswith("@"):
            return client.get_model_version_by_alias(name, reference[1:])
        return client.get_model_version(name, reference)
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        return None


def all_versions(name: str, uri: str) -> dict[int, dict[str, str]]:
    """Return number -> tags of every version of a registered model; empty where there is none.

    Raises:
        RunError: MLflow does not answer.
    """
    from mlflow import MlflowClient

    with reachable(uri):
        found = MlflowClient(uri).search_model_versions(f"name = '{name}'")
    return {int(version.version): dict(version.tags) for version in found}


def listing(uri: str) -> list[Registered]:
    """Return every version of every registered model, by name, the newest first.

    Raises:
        RunError: MLflow does not answer.
    """
    from mlflow import MlflowClient
    from mlflow.store.entities import PagedList

    def pages(search: Callable[..., PagedList[Any]], **options: str) -> Iterator[Any]:
        page = search(**options)
        yield from page
        while page.token:
            page = search(**options, page_token=page.token)
            yield from page

    with reachable(uri):
        client = MlflowClient(uri)
        found = [
            Registered(
                name=model.name,
                number=int(version.version),
                aliases=sorted(
                    alias for alias, number in model.aliases.items() if number == version.version
                ),
                registered=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(
                    timespec="seconds"
                ),
                tags=dict(version.tags),
            )
            for model in pages(client.search_registered_models)
            for version in pages(
                client.search_model_versions, filter_string=f"name = '{model.name}'"
            )
        ]
    return sorted(found, key=lambda one: (one.name, -one.number))


def _log_graph(
    graph: "ModelProto",
    signature: "ModelSignature",
    example: NDArray[np.uint8],
    model_id: str,
    run_id: str,
    extra_files: Iterable[Path],
) -> None:
    import mlflow

    mlflow.onnx.log_model(
        graph,
        model_id=model_id,
        run_id=run_id,
        signature=signature,
        input_example={signature.inputs.input_names()[0]: example},
        save_as_external_data=False,
        onnx_execution_providers=_PROVIDERS,
        pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in _NEEDED],
        extra_files=[path.as_uri() for path in extra_files] or None,  # they look like addresses
        # with MLflow they are in `model.metadata.metadata`
        metadata={"classes": _classes(graph)},
    )


def _classes(graph: "ModelProto") -> list[str]:
    """Return the names of the classes, in the order of the outputs; empty if it has none."""
    entries = {entry.key: entry.value for entry in graph.metadata_props}
    try:
        return [str(name) for name in json.loads(entries.get("classes", "[]"))]
    except (ValueError, TypeError):
        return []


def _log_metrics(
    client: "MlflowClient", run_id: str, model_id: str, description: Description
) -> None:
    """Record the model's numbers, linked to model and data, in the run; versions show them."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    data, digest = description.dataset or (None, None)
    about = {"model_id": model_id, "run_id": run_id, "dataset_name": data, "dataset_digest": digest}
    entries = [
        Metric(key, float(value), now, 0, **about) for key, value in description.metrics.items()
    ]
    if entries:
        client.log_batch(run_id, entries)


def _signature(graph: "ModelProto", example: NDArray[np.uint8], path: Path) -> "ModelSignature":
    """Return the signature of the graph's inputs and outputs; the batch is free."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec
    from onnx.helper import tensor_dtype_to_np_dtype

    def specs(values: Iterable["ValueInfoProto"]) -> list[TensorSpec]:
        described = []
        for value in values:
            tensor = value.type.tensor_type
            sizes = [size.dim_value or -1 for size in tensor.shape.dim]
            dtype = np.dtype(tensor_dtype_to_np_dtype(tensor.elem_type))
            described.append(TensorSpec(dtype, (-1, *sizes[1:]), value.name))
        return described

    inputs = specs(graph.graph.input)
    fits = len(inputs) == 1 and inputs[0].type == np.uint8 and len(inputs[0].shape) == example.ndim
    if not fits or any(
        size not in (-1, wanted)
        for size, wanted in zip(inputs[0].shape, example.shape, strict=True)
    ):
        raise InputError(
            f"{path}: its input is not uint8 [N, {', '.join(map(str, example.shape[1:]))}]; "
            "export the model again with `dvc repro export`"
        )
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(specs(graph.graph.output)))
