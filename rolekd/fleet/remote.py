"""Working on a job that was started elsewhere: versions, device, inputs."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rolekd.errors import InputError
from rolekd.fleet.artifacts import open_artifacts
from rolekd.fleet.jobs import Job, refuse_other_device, refuse_other_versions
from rolekd.fleet.snapshot import Snapshot, Watch
from rolekd.fleet.studies import JobStudy
from rolekd.fleet.team import Place, work


def misfit(study: JobStudy) -> str | None:
    """Return why this machine cannot work on a job, in one line; None: it can."""
    try:
        refuse_other_versions(study.job)
        if study.job.device != "cpu":
            from rolekd.train import devices  # imports torch

            refuse_other_device(study.job, bool(devices.gpus()))
    except InputError as error:
        return f"study {study.name}: {error}"
    if study.artifacts is None:
        return f"study {study.name}: its inputs are not stored yet; try again in a moment"
    if failure := study.failure():
        return f"study {study.name}: failed ({failure}); run its stage again"
    return None


def attach(
    storage: str,
    name: str,
    artifacts: str | None = None,
    watch: Callable[[Job], Watch] = lambda _: lambda _: None,
    seats: Callable[[Job], Sequence[Mapping[str, str]]] = lambda _: ({},),
    *,
    fresh: bool = False,
) -> Snapshot:
    """Work on a job that was started elsewhere, until it is finished.

    Args:
        storage: URL of its database.
        name: Of its study.
        artifacts: Address of its artifact store; None: the one that the job was started with.
        watch: Job -> what is called with every snapshot of its study.
        seats: Job -> what each process has in its environment besides ours, this process first.
        fresh: This process has computed already: fork none.
    """
    study = JobStudy.open(storage, name)
    if reason := misfit(study):
        raise InputError(reason)
    assert study.artifacts is not None
    store = open_artifacts(artifacts or study.artifacts, name)
    with tempfile.TemporaryDirectory(prefix="rolekd-worker-") as temporary:
        folder = Path(temporary)
        inputs, keep = folder / "inputs", folder / "keep"
        store.get_inputs(study.job.inputs, inputs)
        keep.mkdir()
        place = Place(storage, artifacts or study.artifacts, name, inputs, keep, scratch=folder)
        job = study.job
        return work(study, place, seats(job), lambda: watch(job), fresh=fresh)
