"""What a population of a thousand costs the study and MLflow if nothing is trained.

    python -m results.scale                  # SQLite
    python -m results.scale --storage URL    # PostgreSQL

For docs/scale-out.md. A generation is planned, entered, read by a new worker, and read again when
one task has moved; a member's run is opened and one generation is logged to it.
"""

import tempfile
import time

import click

from rolekd.display import say
from rolekd.fleet.studies import JobStudy, delete
from rolekd.fleet.tasks import Outcome, Result
from rolekd.params import SearchParams, TrackParams
from rolekd.search.population import plan
from rolekd.search.spec import SearchSpec
from rolekd.track import runs, store


@click.command()
@click.option("--members", default=1000, show_default=True)
@click.option("--storage", help="URL of the database.")
def main(members: int, storage: str | None) -> None:
    """Print seconds."""
    settings = SearchParams(population=members, epochs=4, interval_epochs=2, confirm=None)
    spec = SearchSpec(0, "teacher", "member", settings, {}, {}, {}, 4)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        url = storage or f"sqlite:///{folder}/study.db"
        study = JobStudy.create(url, spec, f"scale-{time.time_ns()}", 10)
        tasks = _timed(f"plan {members} tasks", lambda: plan(settings, 0, []))
        study.read()
        _timed("enter them", lambda: study.enqueue(tasks))
        _timed("first reading", JobStudy.open(url, study.name).read)
        entry = study.read().waiting()[0]
        _timed("claim one", lambda: study.claim(entry, "me"))
        outcome = Outcome(0.5, 100, 1.0)
        result = Result(entry.task, entry.number, outcome.accuracy, 100, 1.0, None)
        _timed("enter its result", lambda: study.finish(entry, result))
        _timed("a later reading", study.read)
        results = [Result(task, 0, 0.5, 100, 1.0) for task in tasks]
        _timed("plan the next generation", lambda: plan(settings, 0, [results]))
        study.close()
        delete(url, study.name)
        uri = f"sqlite:///{folder}/mlflow.db"
        store.initialise(uri)
        began = time.perf_counter()
        with runs.start("search", experiment="scale", track=TrackParams(uri=uri)) as run:
            for member in range(members):
                child = run.child(f"member {member}", {"member": member})
                child.epoch({"accuracy": 0.5, "images_seen": 100.0}, 0)
            say(f"MLflow: told of {members} members in {time.perf_counter() - began:.2f} s")
        say(f"MLflow: all in its database after {time.perf_counter() - began:.2f} s")


def _timed(what: str, action):  # type: ignore[no-untyped-def]
    began = time.perf_counter()
    found = action()
    say(f"{what}: {1e3 * (time.perf_counter() - began):.1f} ms")
    return found


if __name__ == "__main__":
    main()
