"""Each check on a project that is broken in one way, and on one that is not."""

import fcntl
import importlib.metadata
import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections import namedtuple
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from rolekd.cli.doctor import doctor
from rolekd.doctor import installation, project, stores
from rolekd.doctor.finding import Finding, run
from rolekd.errors import InputError
from rolekd.outputs import PrepareMetrics
from rolekd.params import DataParams, Params, TrackParams
from rolekd.track import runs, store


def one(found) -> Finding:
    (finding,) = found
    return finding


def test_this_installation_is_sound():
    assert one(installation.python()).verdict == "ok"
    assert [f.verdict for f in installation.packages(Path("nowhere"))] == ["ok"]
    assert one(installation.disk(Path())).verdict == "ok"
    assert one(installation.accelerator()).verdict == "ok"


def test_a_missing_package_and_an_old_one_are_named(monkeypatch):
    lines = ["numpy>=99", "no-such-package>=1", "click>=8.1", "not-here>=1; extra == 'heic'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: lines)
    found = one(installation.packages(Path("nowhere")))
    assert (found.verdict, found.remedy) == ("fault", "make setup")
    assert "no-such-package missing (wanted >=1)" in found.found
    assert f"numpy {importlib.metadata.version('numpy')} (wanted >=99)" in found.found
    assert "click" not in found.found
    assert "not-here" not in found.found  # of an extra


def test_packages_other_than_locked_are_named(tmp_path):
    click, numpy = map(importlib.metadata.version, ("click", "numpy"))
    (tmp_path / "requirements.lock").write_text(
        f"# made by uv\nclick=={click} \\\n    --hash=sha256:ab\nnumpy==0.1 \\\n    --hash=x\n"
        "colorama==9 ; sys_platform == 'win32' \\\n    --hash=sha256:ab\n"
    )
    found = list(installation.packages(tmp_path))[-1]
    assert (found.verdict, found.found) == ("note", f"differs: numpy {numpy} (locked 0.1)")


def test_another_python_is_a_fault(monkeypatch):
    monkeypatch.setattr("platform.python_version", lambda: "3.9.1")
    assert "3.9.1, wanted" in one(installation.python()).found


def test_more_workers_than_cores_are_told(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    two = Params.model_validate({"machine": {"workers": 2}})
    assert one(installation.threads(two)).remedy.startswith("set machine.workers to auto")
    assert one(installation.threads(Params())).verdict == "ok"
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert one(installation.threads(two)).verdict == "ok"


def test_a_full_disk_is_a_fault(monkeypatch):
    usage = namedtuple("usage", "total used free")(10, 10, 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert one(installation.disk(Path())).verdict == "fault"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A DVC project with one output."""
    (tmp_path / "source").write_text("1")
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  copy:\n    cmd: mkdir -p outputs && cp source outputs/copy\n"
        "    deps: [source]\n    outs: [outputs/copy]\n"
    )
    for command in ("git init -q", "dvc init -q", "dvc repro -q"):
        subprocess.run(command.split(), cwd=tmp_path, check=True, stdin=subprocess.DEVNULL)
    return tmp_path


def test_outputs_and_stages_as_dvc_knows_them(folder):
    assert {f.verdict for f in (*project.changed_outputs(folder), *project.stages(folder))} == {
        "ok"
    }
    (folder / "source").write_text("2")
    assert one(project.stages(folder)).found == "stale: copy"
    (folder / "outputs/copy").unlink()
    shutil.rmtree(folder / ".dvc/cache/files")
    outputs, cache = project.changed_outputs(folder)
    assert outputs.found == "changed since DVC wrote them: outputs/copy"
    assert (cache.found, cache.remedy) == ("lacks outputs/copy", "dvc pull, or dvc repro")


def test_dvc_that_fails_is_reported_and_the_rest_continues(tmp_path):
    (tmp_path / "dvc.lock").write_text("{}")
    found = one(run("stages", lambda: project.stages(tmp_path)))
    assert found.verdict == "fault"
    assert found.found.startswith("dvc status: ERROR: you are not inside of a DVC repository")


def test_a_project_without_git_is_told_to_begin_one(tmp_path):
    assert list(project.repository(tmp_path)) == []  # no project of DVC's
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    analytics = false\n")
    found = one(project.repository(tmp_path))
    assert (found.verdict, found.remedy[:8]) == ("fault", "git init")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    found = one(project.repository(tmp_path))
    assert (found.verdict, found.found) == ("note", "no commits yet; `dvc exp` needs one")
    assert found.remedy.startswith("git add . && git commit")
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    assert one(project.repository(tmp_path)).verdict == "note"


def test_an_environment_of_another_place_is_a_fault(tmp_path):
    assert one(installation.environment_place(tmp_path)).verdict == "ok"
    (tmp_path / ".venv/bin").mkdir(parents=True)
    script = tmp_path / ".venv/bin/activate"
    script.write_text(f'VIRTUAL_ENV="{tmp_path}/.venv"\n')
    assert one(installation.environment_place(tmp_path)).verdict == "ok"
    script.write_text("VIRTUAL_ENV=/elsewhere/.venv\n")
    assert "made for /elsewhere/.venv" in one(installation.environment_place(tmp_path)).found
    script.unlink()
    (tmp_path / "rolekd").mkdir()
    (tmp_path / "rolekd/code.py").touch()
    found = one(installation.environment_place(tmp_path))
    assert (found.verdict, found.found[:16]) == ("fault", "runs the rolekd ")


def test_errors_of_a_check_are_findings():
    def fail():
        raise InputError("a.json: damaged; write it again")

    assert run("x", fail) == [Finding("x", "fault", "a.json: damaged", "write it again")]
    assert run("x", lambda: 1 // 0)[0].found.startswith("ZeroDivisionError")


def test_data_that_are_not_those_that_were_prepared(tmp_path):
    from rolekd.sources.prepare import prepare_folder

    params = Params(data=DataParams(path=tmp_path / "digits"))
    assert [f.verdict for f in project.data(tmp_path, params)] == ["fault", "note"]
    (tmp_path / "digits").mkdir()
    held, _ = prepare_folder(params.data, 0, tmp_path / "outputs/data")
    metrics = tmp_path / "outputs/prepare/metrics.json"
    counts = dict.fromkeys(PrepareMetrics.model_fields, 1)
    kept = PrepareMetrics.model_validate({**counts, "data_digest": held.digest})
    kept.save(metrics)
    assert [f.verdict for f in project.data(tmp_path, params)] == ["ok", "ok"]
    kept.model_copy(update={"data_digest": "ab"}).save(metrics)
    assert list(project.data(tmp_path, params))[1].remedy == "dvc repro -f prepare"


def test_what_killed_processes_left(tmp_path):
    assert one(project.leftovers(tmp_path)).verdict == "ok"
    state = tmp_path / ".rolekd/state"
    (state / "distill-kd-12").mkdir(parents=True)
    (state / "distill-kd-12.lock").touch()
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/.schedule-ab12cd34.json").touch()
    states, rest = project.leftovers(tmp_path)
    assert "1 of stopped stages" in states.found
    assert "distill-kd-12.lock" in rest.found
    assert ".schedule-ab12cd34.json" in rest.found
    with (state / "distill-kd-12.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        running, nothing = project.leftovers(tmp_path)
        assert (running.check, running.found) == ("running", "distill-kd-12")
        assert nothing.verdict == "ok"


def test_stores_that_are_not_there_yet(tmp_path):
    assert one(stores.mlflow_store(f"sqlite:///{tmp_path}/mlflow.db")).verdict == "note"
    assert one(stores.searches(f"sqlite:///{tmp_path}/optuna.db")).verdict == "note"
    assert not list(tmp_path.iterdir())  # looking makes nothing
    assert one(stores.spool(tmp_path / "spool")).verdict == "ok"


def test_a_store_of_another_mlflow_is_a_fault(project):
    path = project / "mlflow.db"
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ab12'")
    found = one(run("MLflow", lambda: stores.mlflow_store(f"sqlite:///{path}")))
    assert found.verdict == "fault"
    assert "schema" in found.found


def test_a_server_that_is_away_is_a_fault_without_its_password():
    found = one(run("MLflow", lambda: stores.mlflow_store("http://me:hidden@127.0.0.1:9")))
    assert found.verdict == "fault"
    assert "hidden" not in found.found


def test_records_that_wait_are_told_and_damaged_ones_are_a_fault(project, monkeypatch):
    monkeypatch.setattr("rolekd.track.sender._SECONDS_OF_GRACE", 0.0)
    with runs.start("train", experiment="e", track=TrackParams(uri="http://127.0.0.1:9")) as run_:
        run_.log_params({"seed": 0})
        assert one(stores.spool(store.spool_folder())).verdict == "ok"  # it sends by itself
    found = one(stores.spool(store.spool_folder()))
    assert found.verdict == "note"
    assert found.found.startswith("4 records of 1 runs wait")
    assert found.remedy == "the next stage with this store sends them, or rolekd sync does"
    (spool,) = store.spool_folder().iterdir()
    (spool / "sent.json").write_text('{"offset": 99999, "runs": {}}')
    found = one(stores.spool(store.spool_folder()))
    assert found.verdict == "fault"
    assert "events.jsonl: sent.json counts 99999 bytes" in found.found
    assert "mend it" in found.remedy


def test_a_damaged_store_is_a_fault_and_stays(project):
    path = project / "mlflow.db"
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 2, len(content), 512):
        content[place] ^= 0xFF
    path.write_bytes(content)
    found = one(run("MLflow", lambda: stores.mlflow_store(f"sqlite:///{path}")))
    assert found.verdict == "fault"
    path.write_bytes(content[:100_000])
    found = one(run("MLflow", lambda: stores.mlflow_store(f"sqlite:///{path}")))
    assert (found.verdict, "is damaged" in found.found) == ("fault", True)
    assert "move it away" in found.remedy
    assert path.read_bytes() == content[:100_000]
    found = one(run("Optuna", lambda: stores.searches(f"sqlite:///{path}")))
    assert (found.verdict, "is damaged" in found.found) == ("fault", True)
    assert path.read_bytes() == content[:100_000]


def test_no_server_is_waited_for_long():
    begin = time.monotonic()
    address = "postgresql://me:hidden@127.0.0.1:9/x"
    found = [
        one(run("x", partial(look, address))) for look in (stores.mlflow_store, stores.searches)
    ]
    assert [one.verdict for one in found] == ["fault", "fault"]
    assert "hidden" not in str(found)
    assert time.monotonic() - begin < 40  # MLflow's own tries take 100 s


def test_the_command(project, monkeypatch):
    monkeypatch.delenv("ROLEKD_STORAGE", raising=False)
    (project / "data/raw/digits").mkdir(parents=True)
    told = CliRunner().invoke(doctor, ["--json"], catch_exceptions=False)
    found = {line["check"]: line["verdict"] for line in json.loads(told.output)}
    assert told.exit_code == 0, told.output
    assert found["MLflow"] == "ok"
    assert found["outputs"] == "note"
    (project / "params.yaml").write_text("data: {source: digit}")
    told = CliRunner().invoke(doctor, ["--faults"], catch_exceptions=False)
    assert told.exit_code == 1
    assert (
        "fault names             data.source: unknown source 'digit' -> did you mean digits?"
        in (told.output)
    )
    (project / "params.yaml").write_text("serach: {}")
    told = CliRunner().invoke(doctor, catch_exceptions=False)
    assert told.exit_code == 1
    assert "fault params.yaml" in told.output
    assert "did you mean search?" in told.output
