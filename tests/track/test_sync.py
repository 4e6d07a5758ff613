"""Spools that contradict themselves are kept and named, and the others continue."""

import contextlib
import json
import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode

from rolekd.errors import RunError
from rolekd.track import delivery, spool, sync
from rolekd.track.events import Event
from rolekd.track.health import count_experiments
from rolekd.track.spool import DamagedSpoolError, Spool


def record(event: str, **content: object) -> Event:
    return {"event": event, "run": "r", "time": 1000, **content}


RECORDS = [
    record("start", name="train", experiment="e", parent=None, tags={"stage": "train"}),
    record("params", params={"seed": "0"}),
    record("metrics", metrics={"loss": float("nan"), "accuracy": float("inf")}, step=0),
    record("metrics", metrics={"loss": 1, "accuracy": 0.5}, step=1),
    record("tags", tags={"arm": "kd"}),
    record(
        "dataset", name="d", digest="ab", context="train", source="x", profile={"images": 9}
    ),
    record("artifact", path="artifacts/1/a.txt", target=""),
    record("end", status="FINISHED"),
]  # fmt: skip


def leave(root: Path, name: str) -> Path:
    """Leave a spool as a process does that ended without sending it."""
    folder = root / name
    left = Spool(folder)
    for one in RECORDS:
        left.append({**one, "run": name, **({"name": name} if "name" in one else {})})
    (folder / "artifacts/1").mkdir(parents=True)
    (folder / "artifacts/1/a.txt").write_text("a")
    left.close(remove=False)
    return folder


@pytest.fixture
def root(project: Path) -> Path:
    return project / ".rolekd/spool"


@pytest.fixture
def uri(project: Path) -> str:
    return f"sqlite:///{project}/mlflow.db"


def recorded(uri: str) -> dict[str, MlflowRun]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("e")
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sent(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "sent.json").write_text(text) and None


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "events.jsonl"
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return apply


DAMAGES = {
    "counts beyond the end": sent('{"offset": 99999, "runs": {"b": "1"}}'),
    "counts half a record": sent('{"offset": 20, "runs": {}}'),
    "counts backwards": sent('{"offset": -1, "runs": {}}'),
    "is not JSON": sent("{"),
    "has another form": sent('{"offset": "many"}'),
    "knows other runs": sent('{"offset": 0, "runs": {"b": "1"}}'),
    "no records": lambda folder: (folder / "events.jsonl").unlink(),
    "no records, but files": lines(lambda _: []),
    "a record of letters": lines(lambda all_: [all_[0], b"letters\n", *all_[1:]]),
    "a record of another form": lines(lambda all_: [all_[0], b'{"event": "end"}\n', *all_[1:]]),
    "no start": lines(lambda all_: all_[1:]),
    "letters at the end": lines(lambda all_: [*all_, b"letters"]),
    "zeros at the end": lines(lambda all_: [*all_, bytes(512)]),
    "a file elsewhere": lines(
        lambda all_: [one.replace(b"artifacts/1/a.txt", b"artifacts/../../x") for one in all_]
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_contradicts_itself_is_kept_and_named_and_the_others_continue(
    root: Path, uri: str, damage: Callable[[Path], None]
) -> None:
    leave(root, "a")
    bad = leave(root, "b")
    leave(root, "c")
    damage(bad)
    before = content(bad)
    good, problem, last = sync.sync(root, uri)
    assert (good.problem, last.problem) == (None, None)
    assert problem.problem is not None
    assert problem.problem.startswith(str(bad))
    assert "does not answer" not in problem.problem
    assert "nothing was changed: mend it" in problem.problem
    assert {path: text for path, text in content(bad).items() if text} == {
        path: text for path, text in before.items() if text
    }
    assert set(recorded(uri)) == {"a", "c"}
    assert spool.folders(root) == [bad]


def test_the_remedy_helps(root: Path, uri: str) -> None:
    folder = leave(root, "a")
    sent('{"offset": 99999, "runs": {}}')(folder)
    assert sync.sync(root, uri)[0].problem
    (folder / "sent.json").unlink()
    (outcome,) = sync.sync(root, uri)
    assert (outcome.problem, outcome.records) == (None, len(RECORDS))
    assert set(recorded(uri)) == {"a"}


def test_a_spool_without_its_lock_is_sent(root: Path, uri: str) -> None:
    (leave(root, "a") / "lock").unlink()
    (outcome,) = sync.sync(root, uri)
    assert outcome.run_id == recorded(uri)["a"].info.run_id
    assert recorded(uri)["a"].data.metrics["accuracy"] == 0.5
    assert not list(root.iterdir())


def test_a_kill_before_the_first_record_leaves_nothing_to_keep(root: Path, uri: str) -> None:
    folder = leave(root, "a")
    shutil.rmtree(folder / "artifacts")
    (folder / "events.jsonl").write_bytes(b'{"event": "sta')
    assert [outcome.problem for outcome in sync.sync(root, uri)] == [None]
    assert not list(root.iterdir())


def test_a_run_that_mlflow_refuses_keeps_no_other_from_being_sent(root: Path, uri: str) -> None:
    client = MlflowClient(uri)
    client.delete_experiment(client.create_experiment("e"))
    bad, other = leave(root, "a"), leave(root, "b")
    path = other / "events.jsonl"
    path.write_text(path.read_text().replace('"experiment": "e"', '"experiment": "other"'))
    refused, good = sync.sync(root, uri)
    assert "experiment e was deleted in MLflow; restore it" in str(refused.problem)
    assert good.problem is None
    assert spool.folders(root) == [bad]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [("PERMISSION_DENIED", "what this user may do"), ("RESOURCE_LIMIT_EXCEEDED", "make room")],
)
def test_a_store_that_refuses_for_its_own_reason_is_not_said_to_be_away(
    code: str, remedy: str, root: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = leave(root, "a")
    before = content(folder)

    def refuse(*_: object, **__: object) -> None:
        raise MlflowException("not you", error_code=ErrorCode.Value(code))

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", refuse)
        patch.setattr(MlflowClient, "search_experiments", refuse)
        (outcome,) = sync.sync(root, uri)
        with pytest.raises(RunError, match=f"not you; .*{remedy}"):
            count_experiments(uri)
    assert "not you" in str(outcome.problem)
    assert remedy in str(outcome.problem)
    assert content(folder).items() >= before.items()
    (outcome,) = sync.sync(root, uri)
    assert outcome.problem is None
    assert list(recorded(uri)) == ["a"]


def test_a_store_that_fails_at_one_run_but_answers_keeps_no_other_from_being_sent(
    root: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(root, "a")
    leave(root, "b")
    real = delivery._send_params

    def fail(client: MlflowClient, run_id: str, params: dict[str, str]) -> None:
        if client.get_run(run_id).info.run_name == "a":
            raise RuntimeError("a bug of the server's")
        real(client, run_id, params)

    monkeypatch.setattr(delivery, "_send_params", fail)
    failed, good = sync.sync(root, uri)
    assert "a bug of the server's" in str(failed.problem)
    assert (good.run, good.problem) == ("b", None)
    monkeypatch.undo()
    assert [outcome.problem for outcome in sync.sync(root, uri)] == [None]
    assert set(recorded(uri)) == {"a", "b"}


def test_a_file_that_is_gone_costs_its_record_only(root: Path, uri: str) -> None:
    folder = leave(root, "a")
    (folder / "artifacts/1/a.txt").unlink()
    (outcome,) = sync.sync(root, uri)
    assert (outcome.problem, outcome.refused) == (None, 1)
    assert json.loads((folder / "refused.jsonl").read_text())["path"] == "artifacts/1/a.txt"
    assert recorded(uri)["a"].info.status == "FINISHED"


def test_a_folder_that_cannot_be_read_is_not_taken_for_empty(
    root: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(RunError, match="spool: cannot be read"):
        sync.sync(root, uri)


def test_time_that_is_up_leaves_the_rest_to_the_next_time(
    root: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "_RECORDS_AT_ONCE", 3)
    for name in "ab":
        leave(root, name)
    (cut,) = sync.sync(root, uri, seconds=0.0)
    assert (cut.run, cut.records) == ("a", 3)
    assert "wait for the next time" in cut.describe()
    first, second = sync.sync(root, uri)
    assert (first.records, second.records) == (len(RECORDS) - 3, len(RECORDS))
    assert set(recorded(uri)) == {"a", "b"}


def test_two_that_send_at_once_send_all_once(root: Path, uri: str) -> None:
    names = [f"r{number}" for number in range(8)]
    for name in names:
        leave(root, name)
    outcomes: list[sync.SpoolOutcome] = []
    both = [
        threading.Thread(target=lambda: outcomes.extend(sync.sync(root, uri))) for _ in range(2)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert not [outcome for outcome in outcomes if outcome.problem]
    assert sorted(recorded(uri)) == names
    assert not list(root.iterdir())


def test_a_spool_is_locked_before_others_can_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        seen.append(spool.folders(tmp_path))
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    made = Spool(tmp_path / "a")
    assert seen == [[]]
    assert spool.is_written(tmp_path / "a")
    made.close(remove=False)
    assert not spool.is_written(tmp_path / "a")


def test_what_a_kill_left_of_a_removal_is_removed_by_the_next(root: Path, uri: str) -> None:
    leave(root, "a").rename(root / ".a.sent")
    leave(root, "b")
    assert [outcome.run for outcome in sync.sync(root, uri)] == ["b"]
    assert not list(root.iterdir())


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_a_disk_does_is_consistent_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    folder = leave(tmp_path, uuid.uuid4().hex)
    progress = spool.Delivered(spool.read(folder, 0, limit=2)[1], {folder.name: "1"})
    progress.save(folder)
    path = folder / data.draw(st.sampled_from(["events.jsonl", "sent.json"]))
    damaged = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    for place in data.draw(st.lists(st.integers(0, max(len(damaged) - 1, 0)), max_size=3)):
        if damaged:
            damaged[place] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    with contextlib.suppress(DamagedSpoolError):
        found, after = spool.inspect(folder)
        assert not after.offset or damaged
        rest, end = spool.read(folder, after.offset)
        assert len(rest) <= len(found)
        assert end <= (folder / "events.jsonl").stat().st_size
        assert {one["run"] for one in found[: len(found) - len(rest)]} <= after.runs.keys()
    shutil.rmtree(folder)
