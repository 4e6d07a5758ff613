"""From the spool to MLflow: one delivery, used by the sender's thread and by `sync`.

Sending the same record twice is harmless: a run is found again by the tag `rolekd.key`, and
MLflow ignores a metric that it has with the same step and time. So a delivery that is cut off
anywhere is simply begun again.
"""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolekd import files
from rolekd.errors import RolekdError, RunError, one_line
from rolekd.secrets import redact
from rolekd.track import store
from rolekd.track.client import remedy_of_refusal
from rolekd.track.events import Event
from rolekd.track.spool import Delivered, read

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput
    from mlflow.entities import Run as MlflowRun

_KEY_TAG = "rolekd.key"
_PARENT_TAG = "mlflow.parentRunId"
_METRICS_PER_CALL = 1000
_PARAMS_PER_CALL = 100

# error codes of MLflow that a second try would meet again
_REFUSALS = (
    "INVALID_PARAMETER_VALUE",
    "BAD_REQUEST",
    "INVALID_STATE",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
)

_log = logging.getLogger("rolekd.track")


class StoreUnreachable(RunError):  # noqa: N818
    """The MLflow store does not answer, or does not accept runs; the records stay in the spool."""


class StoreRefuses(RunError):  # noqa: N818
    """The store answers but does not accept records now; they stay in the spool."""


class RunRefused(RunError):  # noqa: N818
    """The store answers, but will never take this run; its records stay in the spool."""


class Delivery:
    """Sends the records of one spool folder; `progress` says how far it has come.

    `resumed` tells that another process may have sent some of them already.
    """

    def __init__(self, folder: Path, uri: str, *, resumed: bool) -> None:
        self.folder = folder
        self.uri = uri
        self.progress = Delivered.load(folder) if resumed else Delivered()
        self._resumed = resumed
        self._client: MlflowClient | None = None
        self._metrics: dict[str, list[Any]] = {}

    def drain(self, limit: int | None = None) -> int:
        """Send the complete records that were not sent yet, at most `limit`; return how many.

        Raises:
            StoreUnreachable: the store did not answer; nothing is lost.
            RunRefused: MLflow will not take the run; nothing is lost.
            StoreRefuses: it takes nothing from us now, for lack of rights or space; all is kept.
            DamagedSpoolError: what follows is not a record; it is kept.
        """
        events, end = read(self.folder, self.progress.offset, limit)
        if not events:
            return 0
        try:
            for event in events:
                self._send(event)
            for key in list(self._metrics):
                self._flush(key)
        finally:
            self._metrics.clear()
        self.progress.offset = end
        self.progress.save(self.folder)
        return len(events)

    def refused(self) -> int:
        """Return the number of records that MLflow will never take."""
        path = self.folder / "refused.jsonl"
        if not path.exists():
            return 0
        with files.open_regular(path) as file:
            return sum(1 for _ in file)

    def rest(self) -> int:
        """Return the number of records that MLflow has not taken."""
        return len(read(self.folder, self.progress.offset)[0])

    def _send(self, event: Event) -> None:
        kind, key = event["event"], event["run"]
        if kind == "metrics":
            self._metrics.setdefault(key, []).append(event)
            return
        try:
            if kind == "start":
                self._start(event)
            else:
                self._send_to(self.progress.runs[key], event)
        except Exception as error:
            self._judge(error, event)

    def _send_to(self, run_id: str, event: Event) -> None:
        client = self._connect()
        match event["event"]:
            case "params":
                _send_params(client, run_id, event["params"])
            case "tags":
                _send_tags(client, run_id, event["tags"])
            case "dataset":
                client.log_inputs(run_id, [_dataset_input(event)])
            case "artifact":
                _send_artifact(client, run_id, self.folder / event["path"], event["target"])
            case "end":
                self._flush(event["run"])
                # of a run that others share, the latest end is the one that counts
                if not (event.get("shared") and _ended(client, run_id) > event["time"]):
                    client.set_terminated(run_id, event["status"], event["time"])

    def _start(self, event: Event) -> None:
        if event["run"] in self.progress.runs:
            return
        client = self._connect()
        experiment = _experiment(client, event["experiment"], self.uri)
        look = self._resumed or event.get("shared", False)
        run = self._known(experiment, event["run"]) if look else None
        if run is not None and event.get("shared") and 0 < (run.info.end_time or 0) < event["time"]:
            client.update_run(run.info.run_id, "RUNNING")  # it continues
        if run is None:
            tags = {**event["tags"], _KEY_TAG: event["run"]}
            if event["parent"] is not None:
                tags[_PARENT_TAG] = self.progress.runs.get(event["parent"], event["parent"])
            resumed, self._resumed = self._resumed, True  # an error may hide that it was made
            run = client.create_run(experiment, event["time"], tags, run_name=event["name"])
            self._resumed = resumed
        self.progress.runs[event["run"]] = run.info.run_id

    def _known(self, experiment: str, key: str) -> "MlflowRun | None":
        query = f"tags.`{_KEY_TAG}` = '{key}'"
        found = self._connect().search_runs([experiment], query, max_results=1)
        return found[0] if found else None

    def _flush(self, key: str) -> None:
        from mlflow.entities import Metric

        events = self._metrics.pop(key, [])
        metrics = [
            Metric(name, value, event["time"], event["step"])
            for event in events
            for name, value in event["metrics"].items()
        ]
        try:
            for start in range(0, len(metrics), _METRICS_PER_CALL):
                self._connect().log_batch(
                    self.progress.runs[key], metrics[start : start + _METRICS_PER_CALL]
                )
        except Exception as error:
            self._judge(error, *events)

    def _connect(self) -> "MlflowClient":
        if self._client is None:
            from mlflow import MlflowClient

            store.initialise(self.uri)
            self._client = MlflowClient(self.uri)
        return self._client

    def _judge(self, error: Exception, *events: Event) -> None:
        """Keep aside what MLflow refuses for good; anything else is a store to be tried again."""
        if isinstance(error, RunRefused):
            raise error
        if remedy := remedy_of_refusal(error):
            raise StoreRefuses(f"{redact(_named(error))}; {remedy}") from error
        refused = getattr(error, "error_code", "") in _REFUSALS or isinstance(error, _GoneError)
        if not refused:
            raise StoreUnreachable(redact(_named(error))) from error
        if events[0]["event"] == "start":
            raise RunRefused(
                f"MLflow refuses the run ({redact(_named(error))}); its records are kept in "
                f"{self.folder}: mend that in MLflow (a deleted experiment can be restored), or "
                "move the folder away"
            ) from error
        _log.warning(
            "%d records are not in MLflow (%s: %s); they are kept in %s/refused.jsonl",
            len(events),
            events[0]["event"],
            redact(_named(error)),
            self.folder,
        )
        with (self.folder / "refused.jsonl").open("a") as file:
            file.writelines(json.dumps(event) + "\n" for event in events)


def _ended(client: "MlflowClient", run_id: str) -> int:
    """Return when a run ended, in milliseconds; 0: it continues."""
    return client.get_run(run_id).info.end_time or 0


# the user interface opens such an experiment at its runs, and not at traces of language models
_KIND = {"mlflow.experimentKind": "custom_model_development"}


def _experiment(client: "MlflowClient", name: str, uri: str) -> str:
    """Return the id of the experiment `name`, made if it is new; two makers may meet."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            location = store.artifact_location(uri, name)
            return str(client.create_experiment(name, location, tags=_KIND))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        number = found.experiment_id
        raise RunRefused(
            f"experiment {name} was deleted in MLflow; restore it (`mlflow experiments restore "
            f"--experiment-id {number}`), or remove it for good (`mlflow gc --experiment-ids "
            f"{number}`), then run `rolekd sync`"
        )
    return str(found.experiment_id)


def _send_params(client: "MlflowClient", run_id: str, params: dict[str, str]) -> None:
    from mlflow.entities import Param

    entries = [Param(key, value) for key, value in params.items()]
    for start in range(0, len(entries), _PARAMS_PER_CALL):
        client.log_batch(run_id, params=entries[start : start + _PARAMS_PER_CALL])


def _send_tags(client: "MlflowClient", run_id: str, tags: dict[str, str]) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def _dataset_input(event: Event) -> "DatasetInput":
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=event["name"],
        digest=event["digest"],
        source_type="local",
        source=json.dumps({"uri": event["source"]}),
        profile=json.dumps(event["profile"]),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", event["context"])])


class _GoneError(Exception):
    """A file to send is not in the spool any more."""


def _send_artifact(client: "MlflowClient", run_id: str, path: Path, target: str) -> None:
    if not path.exists():
        raise _GoneError(f"{path} is missing")
    parts = [path, *path.rglob("*")] if path.is_dir() else [path]
    if not all(part.is_file() or part.is_dir() for part in parts):
        raise _GoneError(f"{path} has a pipe or a device in it")
    if path.is_dir():
        client.log_artifacts(run_id, str(path), target or path.name)
    else:
        client.log_artifact(run_id, str(path), target or None)


def _named(error: Exception) -> str:
    if isinstance(error, RolekdError | _GoneError):
        return str(error)
    return f"{type(error).__name__}: {one_line(error, 300)}"
