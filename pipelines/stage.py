"""What the stage scripts share: parameters, one MLflow run, a lock, resumable state."""

import contextlib
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rolekd import files, params, processes
from rolekd.errors import InputError
from rolekd.track import runs, store

if TYPE_CHECKING:
    from rolekd.data.dataset import Dataset

OUTPUTS = Path("outputs")
DATA = OUTPUTS / "data"


@dataclass(frozen=True)
class Stage:
    """A stage at work.

    Attributes:
        params: All parameters.
        run: Its MLflow run.
        folder: Where its outputs go, as dvc.yaml names them.
        state: Where it keeps what a later call goes on from; outside DVC's outputs, and named
            after everything that the stage depends on.
        leads: Whether this process writes the outputs: of several that torchrun started, the
            first.
    """

    params: params.Params
    run: runs.Run
    folder: Path
    state: Path
    leads: bool

    def log_split(self, dataset: "Dataset", split: str) -> None:
        """Record in the run which images of which data the stage works on."""
        self.run.log_dataset(
            dataset.name,
            dataset.digest,
            context=split,
            source=str(self.params.data.path),
            profile={"images": len(dataset.splits[split]), "classes": len(dataset.classes)},
        )

    def finish(self, metrics: Mapping[str, Any], *, ends_of_curves: bool = False) -> None:
        """Write metrics.json, with the id of the run that made it, and drop the state.

        With `ends_of_curves` the run has these numbers already, as the last points of its curves.
        """
        if not ends_of_curves:
            numbers = {k: float(v) for k, v in metrics.items() if isinstance(v, int | float)}
            self.run.log_metrics(numbers)
        files.write_json(
            self.folder / "metrics.json", {**metrics, "mlflow_run_id": self.run.run_id()}
        )
        shutil.rmtree(self.state, ignore_errors=True)


@contextlib.contextmanager
def open_stage(
    name: str,
    variant: str | None = None,
    *,
    matrix: Mapping[str, str] | None = None,
    tags: Mapping[str, object] | None = None,
    forks: bool = False,
    team: bool = False,
) -> Iterator[Stage]:
    """Read the parameters, check them, take the stage's lock and open its run.

    Scripts import torch inside the block: a wrong parameter is told at once, and MLflow, which
    the run's thread imports, loads beside torch.

    Args:
        name: The stage's name in dvc.yaml.
        variant: What tells this run from others of the stage, such as the arm.
        matrix: Values of `${item...}` in dvc.yaml, for a matrix stage.
        tags: Tags of the run.
        forks: The stage forks before it calls `run.send`; till then the run has no thread.
        team: Several processes that torchrun started may work on the stage; its first holds the
            lock and records the run.
    """
    processes.die_with_parent()
    if processes.team_size() > 1 and not team:
        raise InputError(f"torchrun: stage {name} is one process; start it with python -m")
    values = params.load()
    used, dependencies = _definition(name, values, matrix or {})
    fingerprint = files.digest(
        {
            "params": used,
            "dependencies": {str(path): files.digest_path(path) for path in dependencies},
        }
    )
    full_name = name if variant is None else f"{name}-{variant}"
    state = store.project_root() / ".rolekd" / "state" / f"{full_name}-{fingerprint[:16]}"
    folder = OUTPUTS / name if variant is None else OUTPUTS / name / variant
    if processes.team_rank() > 0:
        yield Stage(values, runs.SilentRun(), folder, state, leads=False)
        return
    with (
        processes.exclusive(state.with_name(f"{state.name}.lock"), f"stage {full_name}"),
        runs.start(
            name,
            experiment=f"rolekd-{values.data.name}",
            variant=variant,
            params=used | dict(matrix or {}),
            tags={"fingerprint": fingerprint, **(tags or {})},
            inputs=[path for path in dependencies if path.parts[0] == OUTPUTS.name],
            uri=values.track.uri,
            send=not forks,
            system_metrics=values.track.system_metrics,
        ) as run,
    ):
        files.clear_unfinished(folder)  # of a killed process; the lock makes this the only one
        yield Stage(values, run, folder, state, leads=True)


def _definition(
    name: str, values: params.Params, matrix: Mapping[str, str]
) -> tuple[dict[str, Any], list[Path]]:
    """Return the parameters and dependencies that dvc.yaml declares for a stage."""
    stage = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"][name]
    everything = values.model_dump(mode="json")
    used = {key: _lookup(key, everything) for key in stage.get("params", [])}
    # what DVC interpolates: the items of a matrix, and values of params.yaml
    known = {**everything, "item": dict(matrix)}
    dependencies = [
        Path(re.sub(r"\$\{([\w.]+)\}", lambda found: str(_lookup(found[1], known)), text))
        for text in stage.get("deps", [])
    ]
    return used, dependencies


def _lookup(key: str, values: Any) -> Any:
    """Return the value of a key such as search.population."""
    for part in key.split("."):
        values = values[part]
    return values
