"""A whole search on this machine, from its spec to what it found.

    spec = member.make_spec(params, "teacher", inputs)
    state = Path(".rolekd/state", f"search_teacher-{spec.fingerprint[:12]}")
    found = run(spec, inputs, state, [bar], workers=2)
    found.schedule.save("schedule.json")

Called again after an interruption of any kind, it continues where it was. What it returns does not
depend on interruptions or on the number of workers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rolekd.fleet import runner
from rolekd.fleet.runner import Storage
from rolekd.search import final, lineage, phases
from rolekd.search.history import Found
from rolekd.search.observers import Notifier, Observer
from rolekd.search.parameters import note
from rolekd.search.spec import SearchSpec


def run(
    spec: SearchSpec,
    inputs: Path,
    state: Path,
    observers: Sequence[Observer] = (),
    *,
    workers: int = 1,
    seats: Sequence[Mapping[str, str]] | None = None,
    storage: Storage | None = None,
    fresh: bool = False,
) -> Found:
    """Run a search, or continue it, to its end; see `rolekd.fleet.runner.run`.

    Args:
        spec: What is searched.
        inputs: Folder of the files that `spec.inputs` names.
        state: Folder for the state of this search and no other; locked meanwhile.
        observers: Every result is reported to them.
        workers: Processes on this machine, this one included; changes no result.
        seats: Instead of `workers`, with a place for each; see `rolekd.fleet.runner.run`.
        storage: Database and artifact store, if not in `state`.
        fresh: See `rolekd.fleet.runner.run`.

    Raises:
        InputError: The study holds another search, or the libraries are others.
        RunError: The database or the artifact store failed for good, or every member diverged.
    """

    def watch() -> Notifier:
        return Notifier(observers, spec)

    seats = seats or [{}] * workers
    about = note((storage and storage.study) or spec.name)
    snapshot = runner.run(
        spec, inputs, state, watch, seats=seats, storage=storage, fresh=fresh, note=about
    )
    proposed, rungs = phases.proposed(snapshot.history), phases.rungs(snapshot.history)
    line = lineage.trace(proposed) if proposed else []
    verdict = final.verdict(spec.search, rungs) if rungs else None
    found = Found(spec.search, snapshot.history, line, verdict)
    for observer in observers:
        observer.finished(found)
    return found
