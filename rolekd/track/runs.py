"""Runs: records of a stage while it works, in MLflow.

A stage opens one run and may open children (the members of a search, the seeds of an arm):

    with runs.start("distill", experiment="rolekd-digits", variant="kd", params=...) as run:
        with run.child("seed 0") as child:
            child.epoch({"train_loss": 0.3}, step=1)
        write_metrics(run_id=run.run_id())

Only `run_id` and `close` wait for MLflow, and its failures do not raise here.
"""

import itertools
import json
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from rolekd.params import TrackParams
from rolekd.secrets import redact
from rolekd.track import provenance, store
from rolekd.track.machine import SystemMetrics
from rolekd.track.sender import Sender
from rolekd.track.spool import Spool

DIGEST_LENGTH = 36  # of a data set
_PARAM_LIMIT = 6000  # characters, mlflow.utils.validation
_SECONDS_TO_CLOSE = 60.0
# what children do not carry: hashes of the stage's inputs, the data, other arms
_OWN_TAGS = ("input.", "fingerprint")
_OWN_PARAMS = ("data.", "compare.arms.")


class Run:
    """One MLflow run. Made by `start` or `Run.child`; it also is an epoch reporter."""

    def __init__(self, spool: Spool, sender: Sender, key: str, parent: "Run | None" = None) -> None:
        self.key = key
        self._spool = spool
        self._sender = sender
        self._parent = parent
        self._numbers: Iterator[int] = parent._numbers if parent else itertools.count(1)
        self._open: list[Run] = []
        self._closed = False
        self._system: SystemMetrics | None = None
        # what its children carry too, so that a filter finds those that hold results
        self._tags: dict[str, str] = {}
        self._params: dict[str, str] = {}
        self.group: Run | None = None
        """The run that this one is grouped under; see `ParentRun`."""
        if parent:
            parent._open.append(self)

    def send(self) -> None:
        """Begin to send what is recorded to MLflow, in a thread; again, it does nothing."""
        if self._sender.ident is None:
            self._sender.start()
            if self._system:
                self._system.start()

    def child(self, name: str, tags: Mapping[str, object] | None = None) -> "Run":
        """Open a nested run, shown below this one, with this one's parameters and tags."""
        child = Run(self._spool, self._sender, f"{self.key}.{next(self._numbers)}", self)
        child._begin(name, self._experiment, self.key, {**self._tags, **(tags or {})})
        if self._params:
            child.log_params(self._params)
        return child

    @property
    def params(self) -> dict[str, str]:
        """The recorded parameters that children carry, too."""
        return dict(self._params)

    def log_params(self, params: Mapping[str, object]) -> None:
        """Record parameters; nested mappings become dotted keys. Secrets are blanked."""
        cleaned = store.cleaned(_flatten(params), _PARAM_LIMIT)
        self._params |= {k: v for k, v in cleaned.items() if not k.startswith(_OWN_PARAMS)}
        self._record("params", params=cleaned)

    def epoch(self, metrics: Mapping[str, float], step: int) -> None:
        """Record the numbers of one epoch (or generation), all in one batch."""
        self._record("metrics", metrics={k: float(v) for k, v in metrics.items()}, step=int(step))

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Record numbers that belong to the run as a whole."""
        self.epoch(metrics, step=0)

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Record what the user interface filters and groups by: arm, bits, role, seeds."""
        self._record("tags", tags=store.cleaned(tags, store.TAG_LIMIT))

    def log_dataset(
        self, name: str, digest: str, *, context: str, source: str, profile: Mapping[str, object]
    ) -> None:
        """Record what the run read.

        Args:
            name: the dataset's name.
            digest: its content hash; MLflow keeps the first `DIGEST_LENGTH` characters.
            context: the split, as in "train".
            source: where it came from; a URL is recorded without its user part.
            profile: counts, as in `{"images": 300}`.
        """
        self._record(
            "dataset",
            name=name,
            digest=digest[:DIGEST_LENGTH],
            context=context,
            source=redact(source),
            profile=dict(profile),
        )

    def log_artifact(self, path: Path | str, target: str = "") -> None:
        """Record a copy of a file or folder as it is now, in the artifact folder `target`."""
        kept = self._spool.keep(Path(path))
        if kept is not None:
            self._record("artifact", path=kept, target=target)

    def log_text(self, name: str, text: str) -> None:
        """Record a text as the artifact `name`; the user interface shows .json, .csv and .svg."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(name).name
            path.write_text(text, encoding="utf-8")
            parent = Path(name).parent.as_posix()
            self.log_artifact(path, "" if parent == "." else parent)

    def run_id(self, timeout: float = _SECONDS_TO_CLOSE) -> str | None:
        """Return MLflow's id of this run, None where the store does not answer in time."""
        self.send()
        return self._sender.run_id(self.key, timeout)

    def close(self, status: str = "FINISHED") -> str | None:
        """End the run (and, of a top-level run, wait until it is delivered); return its id.

        `status` is MLflow's: FINISHED, FAILED or KILLED. Children that are open end with it.
        """
        if self._closed:
            return self._sender.delivery.progress.runs.get(self.key)
        for child in list(self._open):
            child.close(status)
        if self._system:
            self._system.stop()
        self._record("end", status=status)
        self._closed = True
        if self._parent:
            self._parent._open.remove(self)
        else:
            if self.group:
                self.group._record("end", status=status, shared=True)
                self.group._closed = True
            self.send()
            delivered = self._sender.finish(_SECONDS_TO_CLOSE)
            self._spool.close(remove=delivered and not self._sender.delivery.refused())
        return self._sender.delivery.progress.runs.get(self.key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        elif issubclass(kind, Exception):
            self.set_tags({"error": f"{kind.__name__}: {error}"})
            self.close("FAILED")
        else:  # KeyboardInterrupt, SystemExit
            self.close("KILLED")

    def _begin(
        self,
        name: str,
        experiment: str,
        parent: str | None,
        tags: Mapping[str, object],
        *,
        shared: bool = False,
    ) -> None:
        self._experiment = experiment
        cleaned = store.cleaned(tags, store.TAG_LIMIT)
        self._tags = {k: v for k, v in cleaned.items() if not k.startswith(_OWN_TAGS)}
        self._record(
            "start",
            name=name,
            experiment=experiment,
            parent=parent,
            tags=cleaned,
            store=store.known_as(self._sender.delivery.uri),
            **({"shared": True} if shared else {}),
        )

    def _record(self, event: str, **content: object) -> None:
        if self._closed:
            raise ValueError(f"run {self.key} is closed; nothing can be recorded in it")
        now = int(time.time() * 1000)
        self._spool.append({"event": event, "run": self.key, "time": now, **content})
        self._sender.wake()


@dataclass(frozen=True)
class ParentRun:
    """A run that several stages, each a process of its own, share as their parent.

    Attributes:
        key: what all of them, and no others, know: so it is found again, or made.
        name: of the run.
    """

    key: str
    name: str


class SilentRun(Run):
    """A run that records nothing: that of every process of a team but the first."""

    group = None

    def __init__(self) -> None:  # nothing of a run's is made
        pass

    def send(self) -> None:
        """Do nothing."""

    def child(self, name: str, tags: Mapping[str, object] | None = None) -> "Run":  # noqa: ARG002
        """Return itself."""
        return self

    def log_params(self, params: Mapping[str, object]) -> None:
        """Do nothing."""

    def log_artifact(self, path: Path | str, target: str = "") -> None:
        """Do nothing."""

    def run_id(self, timeout: float = 0.0) -> str | None:  # noqa: ARG002
        """Return None."""
        return None

    def close(self, status: str = "FINISHED") -> str | None:  # noqa: ARG002
        """Do nothing."""
        return None

    def _record(self, event: str, **content: object) -> None:
        pass


def start(
    stage: str,
    *,
    experiment: str,
    variant: str | None = None,
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, object] | None = None,
    track: TrackParams | None = None,
    send: bool = True,
    group: ParentRun | None = None,
) -> Run:
    """Open the run of a stage.

    Args:
        stage: the stage's name; the run is called `stage`, or `stage@variant`.
        experiment: the MLflow experiment, one per dataset, as in "rolekd-digits".
        variant: the arm or the role that the stage was started for.
        params: parameters to record.
        tags: what to filter by, as in arm, bits, role, seeds, and `provenance.input_tags`.
        track: where it is recorded, and whether what the machine does meanwhile is too; without
            a URI: the environment's, else `mlflow.db` of the project.
        group: the run above this one; `mlflow run` has made its own.
        send: False leaves it to `Run.send` to start the sender, for a process that still forks.

    Raises:
        InputError: the URI is none that MLflow takes.
    """
    root, track = store.project_root(), track or TrackParams()
    uri = store.resolve(track.uri, root)
    key = uuid.uuid4().hex
    spool = Spool(store.spool_folder(root) / key)
    run = Run(spool, Sender(spool, uri), key)
    origin = provenance.collect()
    parent = os.environ.get("MLFLOW_RUN_ID")  # `mlflow run` made that one: ours becomes its child
    if parent is None and group is not None:
        run.group, parent = Run(spool, run._sender, group.key), group.key
        shown = {"stage": "pipeline", **origin.tags()}
        run.group._begin(group.name, experiment, None, shown, shared=True)
    run._begin(
        stage if variant is None else f"{stage}@{variant}",
        experiment,
        parent,
        {"stage": stage, **origin.tags(), **(tags or {})},
    )
    run.log_text("provenance.json", json.dumps(origin.to_json(), indent=2))
    if params:
        run.log_params(params)
    if track.system_metrics:
        run._system = SystemMetrics(run.epoch)
    if send:
        run.send()
    return run


def _flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
