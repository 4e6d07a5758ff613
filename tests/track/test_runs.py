import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from rolekd.augment.policy import Policy
from rolekd.augment.schedule import Schedule
from rolekd.errors import InputError
from rolekd.fleet.tasks import Slot
from rolekd.params import SearchParams, TrackParams
from rolekd.search import final
from rolekd.search.history import Found
from rolekd.search.lineage import trace
from rolekd.search.population import Candidate, SearchResult, SearchTask, plan
from rolekd.search.spec import SearchSpec
from rolekd.track import delivery, provenance, runs, store
from rolekd.track.observers import SearchRuns
from rolekd.track.spool import read
from rolekd.track.sync import sync

POLICY = (0,) * 60


def recorded(project: Path) -> dict[str, MlflowRun]:
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("rolekd-digits")
    if experiment is None:
        return {}
    found = client.search_runs([experiment.experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def history(project: Path, run: MlflowRun, key: str) -> list[tuple[int, float]]:
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    points = client.get_metric_history(run.info.run_id, key)
    return [(point.step, point.value) for point in points]


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def lost_store(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a server that is not there."""
    monkeypatch.setattr("rolekd.track.sender._SECONDS_OF_GRACE", 0.5)
    return f"http://user:hidden@127.0.0.1:{closed_port()}"


def test_a_stage_as_mlflow_shows_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "distill@kd")
    monkeypatch.setenv("DVC_EXP_NAME", "proud-cat")
    (project / "schedule.json").write_text("{}")
    with runs.start(
        "distill",
        experiment="rolekd-digits",
        variant="kd",
        params={"student": {"bits": 2, "model": {"name": "resnet8"}}, "seed": 0},
        tags={"arm": "kd", **provenance.input_tags(["schedule.json"])},
    ) as run:
        with run.child("seed 0") as child:
            for epoch in range(3):
                child.epoch({"train_loss": 1 / (epoch + 1)}, epoch)
        run.log_metrics({"accuracy": 0.9})
        run.log_dataset("digits", "ab" * 32, context="train", source="x", profile={"images": 9})
        run.log_artifact("schedule.json", "schedules")
        (project / "schedule.json").write_text("changed later")
        run_id = run.run_id()
    found = recorded(project)
    parent, child_run = found["distill@kd"], found["seed 0"]
    assert parent.info.run_id == run_id
    assert (parent.info.status, child_run.info.status) == ("FINISHED", "FINISHED")
    assert parent.data.params == {
        "student.bits": "2",
        "student.model.name": "resnet8",
        "seed": "0",
    }
    tags = parent.data.tags
    assert (tags["dvc.stage"], tags["dvc.experiment"]) == ("distill@kd", "proud-cat")
    assert tags["arm"] == "kd"
    assert len(tags["input.schedule.json"]) == 64
    # found by what it was made with, as its parent
    assert child_run.data.params == parent.data.params
    assert child_run.data.tags["arm"] == "kd"
    assert child_run.data.tags["dvc.experiment"] == "proud-cat"
    assert "input.schedule.json" not in child_run.data.tags
    assert len([key for key in tags if not key.startswith("mlflow.")]) <= 9
    folder = Path(parent.info.artifact_uri.removeprefix("file://"))
    assert json.loads((folder / "provenance.json").read_text())["versions"]["torch"]
    assert child_run.data.tags["mlflow.parentRunId"] == run_id
    assert history(project, child_run, "train_loss") == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert parent.data.metrics == {"accuracy": 0.9}
    assert parent.inputs.dataset_inputs[0].dataset.digest == ("ab" * 32)[:36]
    artifact = Path(parent.info.artifact_uri.removeprefix("file://")) / "schedules/schedule.json"
    assert artifact.read_text() == "{}"  # as it was when it was recorded
    assert not list((project / ".rolekd/spool").iterdir())


def test_stages_share_the_run_of_the_whole(project: Path) -> None:
    group = runs.ParentRun("ab" * 16, "proud-cat")
    for name, status in (("prepare", "FINISHED"), ("evaluate", "FAILED"), ("export", "FINISHED")):
        run = runs.start(name, experiment="rolekd-digits", params={"seed": 1}, group=group)
        if name == "evaluate":
            assert run.group is not None
            run.group.log_params(run.params)
            run.group.log_metrics({"test_accuracy.kd": 0.5})
        assert run.run_id()
        running = recorded(project)["proud-cat"]
        assert running.info.status == "RUNNING"
        run.close(status)
        whole = recorded(project)["proud-cat"]
        assert whole.info.status == status
        assert recorded(project)[name].data.tags["mlflow.parentRunId"] == whole.info.run_id
    assert whole.data.params == {"seed": "1"}
    assert whole.data.metrics == {"test_accuracy.kd": 0.5}
    assert whole.data.tags["stage"] == "pipeline"


def test_a_late_record_does_not_end_the_run_of_the_whole_anew(
    project: Path, lost_store: str
) -> None:
    group = runs.ParentRun("ab" * 16, "dvc repro")
    lost = TrackParams(uri=lost_store)
    runs.start("prepare", experiment="rolekd-digits", group=group, track=lost).close("FAILED")
    runs.start("evaluate", experiment="rolekd-digits", group=group).close()
    (outcome,) = sync(store.spool_folder(project), f"sqlite:///{project}/mlflow.db")
    found = recorded(project)
    assert (outcome.run, outcome.run_id) == ("prepare", found["prepare"].info.run_id)
    assert found["dvc repro"].info.status == "FINISHED"
    assert found["prepare"].info.status == "FAILED"


def test_failing_stage(project: Path) -> None:
    with pytest.raises(InputError), runs.start("train", experiment="rolekd-digits") as run:
        run.child("seed 0")
        raise InputError("params.yaml: postgresql://me:hidden@host is wrong")
    found = recorded(project)
    assert {run.info.status for run in found.values()} == {"FAILED"}
    assert "InputError" in found["train"].data.tags["error"]
    assert "hidden" not in found["train"].data.tags["error"]


def test_interrupted_stage(project: Path) -> None:
    with pytest.raises(KeyboardInterrupt), runs.start("train", experiment="rolekd-digits"):
        raise KeyboardInterrupt
    assert recorded(project)["train"].info.status == "KILLED"


def test_under_mlflow_run_it_becomes_a_child(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "f" * 32)
    with runs.start("train", experiment="rolekd-digits") as run:
        assert run.run_id() != "f" * 32
    assert recorded(project)["train"].data.tags["mlflow.parentRunId"] == "f" * 32


def test_system_metrics_go_through_the_spool(
    project: Path, lost_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rolekd.track.machine._SECONDS_BETWEEN_SAMPLES", 0.2)
    with runs.start(
        "train",
        experiment="rolekd-digits",
        track=TrackParams(uri=lost_store, system_metrics=True),
    ) as run:
        while not any("system/" in str(event) for event in read(run._spool.folder, 0)[0]):
            time.sleep(0.05)
    sync(store.spool_folder(project), f"sqlite:///{project}/mlflow.db")
    sent = recorded(project)["train"]
    samples = history(project, sent, "system/cpu_utilization_percentage")
    assert [step for step, _ in samples] == list(range(len(samples)))
    assert len(samples) >= 2  # the last one is taken when the run ends
    assert all(0 <= value <= 100 for _, value in samples)
    assert sent.data.metrics["system/system_memory_usage_megabytes"] > 0


def test_system_metrics_that_fail_are_told_once(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rolekd.track.machine._meters", lambda: 1 // 0)
    with runs.start(
        "train", experiment="rolekd-digits", track=TrackParams(system_metrics=True)
    ) as run:
        run.log_metrics({"accuracy": 1.0})
    assert recorded(project)["train"].data.metrics == {"accuracy": 1.0}
    assert caplog.text.count("system metrics stop here") == 1


def test_closed_run_takes_nothing_more(project: Path) -> None:
    run = runs.start("train", experiment="rolekd-digits")
    assert run.close() == run.close()
    with pytest.raises(ValueError, match="closed"):
        run.log_metrics({"accuracy": 1.0})


def test_lost_store_costs_nothing_and_sync_sends_it_later(
    project: Path, lost_store: str, caplog: pytest.LogCaptureFixture
) -> None:
    with runs.start("train", experiment="rolekd-digits", track=TrackParams(uri=lost_store)) as run:
        run.log_params({"seed": 0})
        for epoch in range(5):
            run.epoch({"loss": float(epoch)}, epoch)
        (project / "a.txt").write_text("a")
        run.log_artifact("a.txt")
        assert run.run_id(timeout=1) is None
    (project / "a.txt").unlink()
    assert "`rolekd sync`" in caplog.text
    assert "hidden" not in caplog.text
    assert not recorded(project)
    outcomes = sync(store.spool_folder(project), f"sqlite:///{project}/mlflow.db")
    assert [(o.run, o.records, o.refused) for o in outcomes] == [("train", 10, 0)]
    sent = recorded(project)["train"]
    assert sent.info.run_id == outcomes[0].run_id
    assert sent.info.status == "FINISHED"
    assert history(project, sent, "loss") == [(epoch, float(epoch)) for epoch in range(5)]
    assert sync(store.spool_folder(project), f"sqlite:///{project}/mlflow.db") == []


def test_store_that_comes_back_while_the_run_continues(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rolekd.track.sender._SECONDS_BETWEEN_TRIES", 0.05)
    monkeypatch.setattr("rolekd.track.sender._SECONDS_BETWEEN_SENDS", 0.05)
    gone = threading.Event()
    real = delivery.Delivery._connect

    def connect(self: delivery.Delivery) -> MlflowClient:
        if gone.is_set():
            raise ConnectionError("no answer")
        return real(self)

    monkeypatch.setattr(delivery.Delivery, "_connect", connect)
    with runs.start("train", experiment="rolekd-digits") as run:
        run.epoch({"loss": 0.0}, 0)
        assert run.run_id()
        gone.set()
        for epoch in range(1, 20):
            run.epoch({"loss": float(epoch)}, epoch)
            time.sleep(0.01)
        while run._sender.problem is None:
            time.sleep(0.01)
        gone.clear()
        run.epoch({"loss": 20.0}, 20)
    sent = recorded(project)["train"]
    assert history(project, sent, "loss") == [(epoch, float(epoch)) for epoch in range(21)]
    assert sent.info.status == "FINISHED"
    assert caplog.text.count("does not answer") == 1


@pytest.mark.parametrize("cut", ["after every record", "progress lost"])
def test_sending_twice_records_once(project: Path, lost_store: str, cut: str) -> None:
    """A delivery that is cut off anywhere and begun again leaves the same runs."""
    with runs.start("search", experiment="rolekd-digits", track=TrackParams(uri=lost_store)) as run:
        for member in range(2):
            child = run.child(f"member {member}", {"member": member})
            for epoch in range(3):
                child.epoch({"accuracy": epoch / 10}, epoch)
    (spool,) = store.spool_folder(project).iterdir()
    lines = (spool / "events.jsonl").read_bytes().splitlines(keepends=True)
    for count in range(1, len(lines) + 1):
        (spool / "events.jsonl").write_bytes(b"".join(lines[:count]))
        if cut == "progress lost":
            (spool / "sent.json").unlink(missing_ok=True)
        one = delivery.Delivery(spool, f"sqlite:///{project}/mlflow.db", resumed=True)
        one.drain()
    found = recorded(project)
    assert set(found) == {"search", "member 0", "member 1"}
    for member in range(2):
        points = history(project, found[f"member {member}"], "accuracy")
        assert points == [(0, 0.0), (1, 0.1), (2, 0.2)]
        assert found[f"member {member}"].data.tags["member"] == str(member)


def test_killed_process_is_recorded_as_killed(project: Path) -> None:
    script = """
import sys, time
from rolekd.params import TrackParams
from rolekd.track import runs
lost = TrackParams(uri="http://127.0.0.1:9")
run = runs.start("train", experiment="rolekd-digits", track=lost, send=False)
child = run.child("seed 0")
child.epoch({"loss": 1.0}, 0)
print("ready", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    folder, uri = store.spool_folder(project), f"sqlite:///{project}/mlflow.db"
    assert [outcome.running for outcome in sync(folder, uri)] == [True]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (spool,) = folder.iterdir()
    with (spool / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "metr')  # a record that the kill cut short
    sync(folder, uri)
    found = recorded(project)
    assert {run.info.status for run in found.values()} == {"KILLED"}
    assert history(project, found["seed 0"], "loss") == [(0, 1.0)]
    assert not spool.exists()


def test_what_mlflow_refuses_is_kept_aside(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    with runs.start("train", experiment="rolekd-digits") as run:
        run.log_params({"seed": 0})
        run.log_params({"seed": 1})  # parameters cannot change
        run.log_metrics({"accuracy": 0.5})
    sent = recorded(project)["train"]
    assert sent.data.metrics == {"accuracy": 0.5}
    assert sent.data.params == {"seed": "0"}
    assert "refused" in caplog.text
    (spool,) = store.spool_folder(project).iterdir()
    assert json.loads((spool / "refused.jsonl").read_text())["params"] == {"seed": "1"}
    (outcome,) = sync(store.spool_folder(project), f"sqlite:///{project}/mlflow.db")
    assert outcome.refused == 1


def test_full_disk_stops_the_records_only(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with runs.start("train", experiment="rolekd-digits") as run:
        assert run.run_id()

        class Full:
            def write(self, _data: bytes) -> None:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(run._spool, "_file", Full())
        run.log_metrics({"accuracy": 0.5})
        run.log_metrics({"accuracy": 0.6})
    assert caplog.text.count("No space left on device") == 1


def test_unwritable_spool_stops_the_records_only(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (project / ".rolekd").write_text("a file where a folder must be")
    with runs.start("train", experiment="rolekd-digits") as run:
        run.epoch({"loss": 1.0}, 0)
        run.log_artifact("params.yaml")
        assert run.run_id(timeout=0.5) is None
    assert "tracking stops here" in caplog.text


def test_no_call_waits_for_mlflow(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recording continues while a send hangs."""
    hang = threading.Event()
    real = delivery.Delivery.drain

    def drain(self: delivery.Delivery) -> None:
        hang.wait(30)
        real(self)

    monkeypatch.setattr(delivery.Delivery, "drain", drain)
    with runs.start("train", experiment="rolekd-digits") as run:
        for epoch in range(100):
            run.epoch({"loss": 0.0}, epoch)
        assert run.run_id(timeout=0.1) is None
        events, _ = read(run._spool.folder, 0)
        assert len(events) == 102
        hang.set()
    assert len(history(project, recorded(project)["train"], "loss")) == 100


def test_search_as_mlflow_shows_it(project: Path) -> None:
    def result(
        generation: int, member: int, parent: int | None, accuracy: float | None
    ) -> SearchResult:
        origin = None if parent is None else Slot(generation - 1, parent)
        task = SearchTask(Slot(generation, member), origin, 2, POLICY, 3 * generation, 3)
        return SearchResult(task, 0, accuracy, 100, 0.5, extras={"loss": 0.1})

    with runs.start("search_teacher", experiment="rolekd-digits", send=False) as run:
        before = threading.active_count()
        observer = SearchRuns(run, "teacher")
        assert threading.active_count() == before  # the search may fork until it has started
        settings = SearchParams(
            population=2,
            epochs=6,
            interval_epochs=3,
            ladder=("all-3",),
            confirm={"rungs": [[5, 2]]},
        )
        observer.started(SearchSpec(0, "teacher", "member", settings, {}, {}, {}, 6))
        first = [result(0, 0, None, 0.3), result(0, 1, None, None)]
        second = [result(1, 0, 0, 0.5), result(1, 1, 0, 0.4)]
        for generation in (first, second):
            for one in generation:
                observer.result(one)
            observer.generation(generation)
        entered = [Candidate(name, Schedule.constant(Policy.zeros(), 6)) for name in ("none", "x")]
        rung = [
            SearchResult(task, 0, 0.5 + 0.1 * (task.candidate.name == "x"), 100, 0.5)
            for task in final.plan(settings, entered, [], 2, 6)
        ]
        for one in rung:
            observer.result(one)
        observer.generation(rung)
        verdict = final.verdict(settings, [rung])
        observer.finished(Found(settings, [first, second, rung], [first[0], second[0]], verdict))
    found = recorded(project)
    parent = found["search_teacher"]
    assert history(project, parent, "best_val_accuracy") == [(3, 0.3), (6, 0.5)]
    assert history(project, parent, "diverged_members") == [(3, 1.0), (6, 0.0)]
    assert history(project, found["teacher member 1"], "val_accuracy") == [(6, 0.4)]
    assert history(project, found["teacher member 1"], "copied_from") == [(6, 0.0)]
    assert found["teacher member 0"].data.tags["best_proposal"] == "True"
    assert "winner" not in found["teacher member 0"].data.tags
    assert found["teacher member 1"].data.tags["in_lineage"] == "False"
    assert found["teacher member 1"].data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert history(project, found["teacher candidate x"], "val_accuracy") == [(0, 0.6), (1, 0.6)]
    assert found["teacher candidate none"].data.tags["winner"] == "False"
    assert found["teacher candidate x"].data.tags["winner"] == "True"
    assert parent.data.tags["winner"] == "x"


def test_curves_of_a_restart_go_on_where_its_epochs_begin_again(project: Path) -> None:
    settings = SearchParams(population=2, epochs=4, interval_epochs=2, restarts=1, confirm=None)
    history_ = []
    with runs.start("search_teacher", experiment="rolekd-digits", send=False) as run:
        observer = SearchRuns(run, "teacher")
        observer.started(SearchSpec(0, "teacher", "member", settings, {}, {}, {}, 4))
        while len(history_) < settings.generations:
            tasks = plan(settings, 0, history_)
            history_.append([SearchResult(task, 0, 0.5, 100, 0.5) for task in tasks])
            for one in history_[-1]:
                observer.result(one)
            observer.generation(history_[-1])
        observer.finished(Found(settings, history_, trace(history_), None))
    found = recorded(project)
    # two generations of two epochs, then, with twice the interval, one of four
    for name, metric in (
        ("search_teacher", "best_val_accuracy"), ("teacher member 1", "val_accuracy"),
    ):  # fmt: skip
        assert history(project, found[name], metric) == [(2, 0.5), (4, 0.5), (8, 0.5)]
    assert found["search_teacher"].data.tags["winner"] == "member 0"


def test_stage_imports_no_mlflow() -> None:
    code = "import sys; from rolekd.track import runs; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="rolekd.track")
