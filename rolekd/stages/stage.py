"""What the stages share: parameters, one MLflow run, a lock, resumable state."""

import contextlib
import hashlib
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekd import files, params, processes, yamlfiles
from rolekd.data.dataset import Dataset
from rolekd.display import say
from rolekd.errors import InputError
from rolekd.outputs import Metrics, Outputs, RunId, Wanted
from rolekd.stages.handover import Handover
from rolekd.track import provenance, runs, store

# these decide no result: no stage depends on them
_UNTRACKED = ("machine", "promote", "track")
_RUNS = f"{Outputs().run('').parent}/"
_WAY_BACK = "What this run made, in any clone of the project that has the commit of its dvc.lock:"
_NOT_YET = "no commit has the dvc.lock of this run"


@dataclass(frozen=True)
class Stage:
    """A stage at work.

    Attributes:
        params: All parameters.
        run: Its MLflow run.
        outputs: The paths of all stages' outputs.
        folder: Of its own outputs, as dvc.yaml names them.
        state: Where it keeps what a later call continues from; outside DVC's outputs, and named
            after everything that the stage depends on.
        leads: Whether this process writes the outputs; under torchrun, only the first does.
        written: Its outputs, as dvc.yaml declares them.
    """

    params: params.Params
    run: runs.Run
    outputs: Outputs
    folder: Path
    state: Path
    leads: bool
    written: Sequence[Path] = ()

    @property
    def _run_file(self) -> Path:
        return self.outputs.run(*self.folder.relative_to(self.outputs.root).parts)

    def log_split(self, dataset: Dataset, split: str) -> None:
        """Record in the run which images of which data the stage works on."""
        profile = {"images": len(dataset.splits[split]), "classes": len(dataset.classes)}
        self.log_dataset(dataset, split, profile)

    def log_dataset(self, dataset: Dataset, context: str, profile: Mapping[str, int]) -> None:
        """Record in the run which data the stage works on."""
        source = str(self.params.data.path)
        self.run.log_dataset(
            dataset.name, dataset.digest, context=context, source=source, profile=profile
        )

    def tell_group(self, metrics: Metrics) -> None:
        """Show the numbers, and what decided them, in the run of the whole pipeline."""
        if self.run.group is not None:
            self.run.group.log_params(self.run.params)
            self.run.group.log_metrics(metrics.numbers())

    def finish(self, metrics: Metrics | None = None, *, ends_of_curves: bool = False) -> None:
        """Write metrics.json, if there are any, and which run made the outputs; drop the state.

        With `ends_of_curves` the run has these numbers already, as the last points of its curves.
        """
        if metrics is not None:
            if not ends_of_curves:
                self.run.log_metrics(metrics.numbers())
            metrics.save(self.folder / "metrics.json")
        found = RunId(mlflow_run_id=self.run.run_id() or "")
        found.save(self._run_file)
        if found.mlflow_run_id and provenance.collect().dvc:
            self.run.set_tags({"mlflow.note.content": self._way_back()})
        shutil.rmtree(self.state, ignore_errors=True)

    def _way_back(self) -> str:
        """Return how DVC brings back what this run has made, such as weights.

        The commit that will have it in dvc.lock does not exist yet. It can be found by the hash of
        the file with this run's id, which no other run has.
        """
        key = hashlib.md5(self._run_file.read_bytes(), usedforsecurity=False).hexdigest()  # DVC's
        made = [self.folder if path.is_relative_to(self.folder) else path for path in self.written]
        places = [path for path in dict.fromkeys(made) if path != self._run_file]
        rev = f'"${{rev:?{_NOT_YET}}}"'
        lines = [
            f"rev=$(git log --all --format=%H -S {key} -- dvc.lock | tail -1)",
            *(f"dvc get . {shlex.quote(str(path))} --rev {rev}" for path in places),
        ]
        return "\n".join([_WAY_BACK, "", "```sh", *lines, "```"])


@contextlib.contextmanager
def open_stage(
    name: str,
    variant: str | None = None,
    *,
    tags: Mapping[str, object] | None = None,
    forks: bool = False,
    team: bool = False,
) -> Iterator[Stage]:
    """Read the parameters, check them, take the stage's lock and open its run.

    Scripts import a stage's function inside the block: a wrong parameter is then reported at once,
    and MLflow, which the run's thread imports, loads while torch does.

    Args:
        name: The stage's name in dvc.yaml.
        variant: The key of a `foreach` stage: an arm, a teacher.
        tags: Tags of the run.
        forks: The stage forks before it calls `run.send`; until then the run starts no thread.
        team: The stage may run under torchrun; the first process holds the lock and records the
            run.
    """
    processes.die_with_parent()
    if processes.team_size() > 1 and not team:
        raise InputError(f"torchrun: stage {name} is one process; start it with python -m")
    values = params.load()
    used, dependencies, written = _definition(name, variant, values)
    fingerprint = files.digest(
        {
            "params": used,
            "dependencies": {str(path): files.digest_path(path) for path in dependencies},
        }
    )
    inputs = [path for path in dependencies if path.parts[0] == Outputs().root.name]
    full_name = name if variant is None else f"{name}-{variant}"
    state = store.project_root() / ".rolekd" / "state" / f"{full_name}-{fingerprint[:16]}"
    outputs = Outputs()
    folder = outputs.stage(name, variant)
    if processes.team_rank() > 0:
        yield Stage(values, runs.SilentRun(), outputs, folder, state, leads=False, written=written)
        return
    with (
        Handover(state, written).turn(f"stage {full_name}"),
        runs.start(
            name,
            experiment=store.experiment(values.data.name),
            variant=variant,
            params=_decided(name, values) | used,
            group=_group(values),
            tags={**provenance.input_tags(inputs), "fingerprint": fingerprint, **(tags or {})},
            track=values.track,
            send=not forks,
        ) as run,
    ):
        for path in (folder, outputs.run(name, variant)):
            files.clear_unfinished(path)  # of a killed process; the lock makes this the only one
        yield Stage(values, run, outputs, folder, state, leads=True, written=written)


def _group(values: params.Params) -> runs.ParentRun | None:
    """Return the run of the whole pipeline, one for each experiment or commit and its parameters.

    A stage that is started by hand, without DVC, has none.
    """
    found = provenance.collect()
    if not found.dvc:
        return None
    experiment = found.dvc.get("dvc.experiment")
    decides = values.model_dump(mode="json", exclude={*_UNTRACKED})
    key = files.digest({"params": decides, "commit": found.commit, "experiment": experiment})
    return runs.ParentRun(key[:32], experiment or "dvc repro")


def is_wanted(name: str, variant: str | None = None) -> bool:
    """Whether an arm asks for what a stage makes; if not, say so, and write nothing into them."""
    if Wanted.load(Outputs().wanted(name, variant)).wanted:
        return True
    title = name if variant is None else f"{name}@{variant}"
    say(f"{title}: no arm of params.yaml needs it; nothing to do")
    stage = _interpolated(name, variant, params.load())
    for path in stage["outs"]:
        files.write_text(path, files.NOTHING)
    return False


def _definition(
    name: str, variant: str | None, values: params.Params
) -> tuple[dict[str, Any], list[Path], list[Path]]:
    """Return the parameters, dependencies and outputs that dvc.yaml declares for a stage."""
    stage, known = _interpolated(name, variant, values), values.model_dump(mode="json")
    used = {key: _lookup(key, known) for key in stage.get("params", [])}
    written = [*stage.get("outs", []), *stage.get("metrics", [])]
    return used, [Path(text) for text in stage.get("deps", [])], [Path(text) for text in written]


def _decided(name: str, values: params.Params) -> dict[str, Any]:
    """Return the sections of parameters of a stage and of all stages that it depends on.

    So accuracies can be found by what made the students, which evaluate itself does not read.
    """
    stages = yamlfiles.load("dvc.yaml", "run in the project's folder")["stages"]
    bodies = {key: stage.get("do", stage) for key, stage in stages.items()}
    makers = {
        Path(path).parts[1]: key
        for key, body in bodies.items()
        for path in body["outs"]
        if not path.startswith(_RUNS)
    }
    found, waiting = set(), [name]
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            paths = [Path(path) for path in bodies[key].get("deps", [])]
            folders = {path.parts[1] for path in paths if path.parts[0] == Outputs().root.name}
            waiting += [makers[folder] for folder in folders if folder in makers]
    sections = {param.split(".")[0] for key in found for param in bodies[key].get("params", [])}
    return values.model_dump(mode="json", include=sections - {"compare"})


def _interpolated(name: str, variant: str | None, values: params.Params) -> dict[str, Any]:
    """Return what dvc.yaml declares for a stage, with DVC's values filled in."""
    stage = yamlfiles.load("dvc.yaml", "run in the project's folder")["stages"][name]
    known: dict[str, Any] = values.model_dump(mode="json")
    if variant is not None:
        items = stage["foreach"]
        if isinstance(items, str):  # "${compare.arms}"
            items = _lookup(items[2:-1], known)
        if variant not in items:
            raise InputError(f"stage {name}: no {variant!r} among {', '.join(items)}")
        known, stage = {**known, "key": variant, "item": items[variant]}, stage["do"]

    def fill(text: str) -> str:
        return re.sub(r"\$\{([\w.]+)\}", lambda found: str(_lookup(found[1], known)), text)

    lists = {key: value for key, value in stage.items() if isinstance(value, list)}
    return {key: [fill(text) for text in value] for key, value in lists.items()}


def _lookup(key: str, values: Any) -> Any:
    """Return the value of a key such as search.population."""
    for part in key.split("."):
        values = values[part]
    return values
