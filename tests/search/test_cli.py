"""The commands on a search that runs elsewhere: on S3, with a worker that knows nothing else."""

import json
import shutil
import subprocess
import sys
import time

import boto3
import optuna
import pytest
from click.testing import CliRunner
from moto.server import ThreadedMotoServer

from rolekd.cli import root, working
from rolekd.doctor.stores import searches
from rolekd.errors import HopelessError, InputError, RunError
from rolekd.fleet.artifacts import open_artifacts
from rolekd.fleet.runner import Storage
from rolekd.fleet.studies import JobStudy
from rolekd.search.planner import make_planner
from rolekd.search.population import SearchResult
from rolekd.search.runner import run


@pytest.fixture
def s3(monkeypatch):
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    yield client
    server.stop()


def call(*arguments) -> object:
    done = CliRunner().invoke(root, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_a_worker_elsewhere_on_s3(trainers, inputs, make_spec, digest, tmp_path, s3):
    spec = make_spec(seconds=0.05)
    wanted = digest(run(spec, inputs, tmp_path / "undisturbed"))
    url = f"sqlite:///{tmp_path}/state/study.db"
    store = "s3://bucket/some@team/prefix"  # no user: what is shown is not what is opened
    code = "from rolekd.cli import main; main()"
    options = ["--storage", url, "--study", spec.name]
    study = JobStudy.create(url, spec, spec.name, 10)
    study.enqueue(make_planner(spec)([]))
    study.close()
    open_artifacts(store, spec.name).put_inputs(inputs, spec.inputs)
    JobStudy.open(url, spec.name).publish(store)
    (tmp_path / "elsewhere").mkdir()
    worker = subprocess.Popen(
        [sys.executable, "-c", code, "worker", *options],
        cwd=tmp_path / "elsewhere",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not json.loads(call("status", "--storage", url, "--json"))[0]["workers"]:
        assert worker.poll() is None
        time.sleep(0.05)
    found = run(spec, inputs, tmp_path / "state", storage=Storage(url, store))
    assert digest(found) == wanted
    _, errors = worker.communicate(timeout=30)
    assert worker.returncode == 0, errors
    assert "generation 5/5" in errors
    assert not list((tmp_path / "elsewhere").iterdir())
    snapshot = JobStudy.open(url, spec.name).read()
    single = {trial.workers for trial in snapshot.trials if len(trial.workers) == 1}
    assert len(single) == 2  # both had a part in it
    kept = [item["Key"] for item in s3.list_objects_v2(Bucket="bucket")["Contents"]]
    assert all(key.startswith("some@team/prefix/teacher-") for key in kept)
    assert len(kept) == spec.search.population + len(spec.inputs)


def test_a_bucket_that_is_not_there(trainers, inputs, make_spec, tmp_path, s3):
    with pytest.raises(
        RunError, match=r"artifact store s3://none: writing failed \(.*NoSuchBucket"
    ):
        run(make_spec(), inputs, tmp_path, storage=Storage(artifacts="s3://none"))


def test_a_bucket_with_a_user(trainers, inputs, make_spec, tmp_path):
    with pytest.raises(InputError, match=r"has a user; write s3://BUCKET/PREFIX"):
        run(make_spec(), inputs, tmp_path, storage=Storage(artifacts="s3://me:word@bucket/x"))


def test_status_from_plan_to_end(trainers, inputs, make_spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # away from the records of this project's studies
    spec = make_spec()
    url = f"sqlite:///{tmp_path}/study.db"
    study = JobStudy.create(url, spec, spec.name, 10)
    study.enqueue(make_planner(spec)([]))
    study.claim(study.read().waiting()[0], "elsewhere:1:22:333")
    (found,) = json.loads(call("status", "--storage", url, "--json"))
    assert found["generations"] == {"done": 0, "total": 5}
    assert [member["state"] for member in found["members"]] == ["running", *["waiting"] * 3]
    (at_work,) = found["workers"]
    assert at_work["worker"] == "elsewhere:22"
    assert at_work["alive"]
    assert found["best"] is None
    assert "elsewhere:22" in call("status", "--storage", url)
    study.lose(study.read().running()[0])
    result = run(spec, inputs, tmp_path)
    (found,) = json.loads(call("status", "--storage", url, "--json"))
    assert found["finished"]
    assert found["tasks"] == {"done": 20, "total": 20}
    assert found["best"]["accuracy"] == result.line[-1].accuracy
    assert found["best"]["line"] == [each.task.slot.member for each in result.line]
    assert "finished" in call("status", "--storage", url, "--study", spec.name)


def test_status_of_a_search_that_is_over_names_the_winner_of_its_final(
    trainers, inputs, make_spec, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    final = {"ladder": ["all-2", "all-6"], "confirm": {"rungs": [[6, 2], [2, 4]]}}
    spec = make_spec(search=final)
    url = f"sqlite:///{tmp_path}/study.db"
    verdict = run(spec, inputs, tmp_path).verdict
    (found,) = json.loads(call("status", "--storage", url, "--json"))
    assert found["winner"]["name"] == verdict.winner.name
    line = " ".join(call("status", "--storage", url).split())
    assert f"{verdict.winner.name} wins: {verdict.best.name} is {verdict.best.evidence}" in line
    assert "lineage" not in line


def test_status_says_why_a_final_has_no_winner_and_shows_the_others(
    trainers, inputs, make_spec, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    search = {"ladder": ["all-2"], "confirm": {"rungs": [[3, 2]]}}
    lost = make_spec(algorithm="ladder", search=search, diverge_final="all")
    url = f"sqlite:///{tmp_path}/study.db"
    with pytest.raises(HopelessError, match="every training of the final became NaN"):
        run(lost, inputs, tmp_path)
    done = make_spec(seed=1)
    run(done, inputs, tmp_path / "other", storage=Storage(url=url))
    found = json.loads(call("status", "--storage", url, "--all", "--json"))
    faults = {each["study"]: each.get("fault") for each in found}
    assert faults.pop(done.name) is None
    assert "lower the learning rate" in faults.pop(lost.name)
    shown = " ".join(call("status", "--storage", url, "--all").split())
    assert "every training of the final became NaN; lower the learning rate" in shown
    assert done.name in shown


def test_the_time_left_counts_what_a_rung_has_done_already(
    trainers, inputs, make_spec, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    search = {"ladder": ["all-2", "all-4"], "confirm": {"rungs": [[4, 2], [2, 3]]}}
    spec = make_spec(algorithm="ladder", search=search)
    study_url = f"sqlite:///{tmp_path}/study.db"
    study = JobStudy.create(study_url, spec, spec.name, 10)
    study.enqueue(make_planner(spec)([]))
    *waiting, at_work = study.read().waiting()
    assert study.claim(at_work, "elsewhere:1:22:333")
    for done, trial in enumerate(waiting[:3], 1):
        assert study.claim(trial, "elsewhere:1:22:333")
        study.finish(trial, SearchResult(trial.task, trial.number, 0.5, 100, 7.0))
        (found,) = json.loads(call("status", "--storage", study_url, "--json"))
        # of 10 trainings at most, in 7 seconds each
        assert found["seconds_left"] == 7.0 * (10 - done)


def test_trials_of_another_version_are_told(trainers, inputs, make_spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec, url = make_spec(), f"sqlite:///{tmp_path}/study.db"
    run(spec, inputs, tmp_path)
    study = JobStudy.open(url, spec.name)
    with monkeypatch.context() as patch:
        patch.setattr("rolekd.fleet.studies.read_task", lambda *_: {}["width"])
        with pytest.raises(InputError, match=rf"study {spec.name}: is of another version"):
            study.read()
    study.close()


def test_a_study_of_another_version_is_told_and_harms_no_other(
    trainers, make_spec, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/study.db"
    JobStudy.create(url, make_spec(seed=1), "new", 10).close()
    JobStudy.create(url, make_spec(seed=2), "old", 10).close()
    old = optuna.load_study(study_name="old", storage=url)
    spec = {key: value for key, value in old.user_attrs["spec"].items() if key != "epochs"}
    old.set_user_attr("spec", spec)
    shown = call("status", "--storage", url)
    assert "new (pbt)" in shown
    assert "study old: is of another version of rolekd; finish it with that one, or" in shown
    assert [found["study"] for found in json.loads(call("status", "--storage", url, "--json"))] == [
        "new"
    ]
    with pytest.raises(InputError, match="study old: is of another version"):
        CliRunner().invoke(
            root, ["worker", "--storage", url, "--study", "old"], catch_exceptions=False
        )
    (finding,) = searches(url)
    assert "2 studies, 1 of another version of rolekd; unfinished: new" in finding.found


def test_faults_of_the_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments, message in [
        (["status"], "no such file"),
        (["worker"], "no such file"),
        (["search", "--role", "teacher"], "run this in the project's folder"),
    ]:
        with pytest.raises(InputError, match=message):
            CliRunner().invoke(root, arguments, catch_exceptions=False)
    done = CliRunner().invoke(root, ["search", "--role", "janitor"])
    assert done.exit_code == 2
    assert "'janitor' is not one of 'teacher', 'student'" in done.output


def test_a_worker_takes_all_that_is_unfinished(trainers, inputs, make_spec, tmp_path, digest):
    url, store = f"sqlite:///{tmp_path}/study.db", str(tmp_path / "store")
    # two processes: those of the second study must not be forked by one that has computed
    arguments = ["worker", "--storage", url, "--wait", "0", "--workers", "2"]
    specs = [make_spec(seed=seed, population=2, epochs=4) for seed in (1, 2, 3)]
    for number, spec in enumerate(specs):
        study = JobStudy.create(url, spec, f"study {number}", 10)
        if number < 2:
            open_artifacts(store, f"study {number}").put_inputs(inputs, spec.inputs)
            study.publish(store)
        study.close()
    call(*arguments)
    found = {each["study"]: each for each in json.loads(call("status", "--storage", url, "--json"))}
    # the inputs of the third are not stored yet
    assert [found[f"study {n}"]["finished"] for n in range(3)] == [True, True, False]
    with pytest.raises(InputError, match="nothing to do in this storage; start a stage with"):
        CliRunner().invoke(root, arguments, catch_exceptions=False)
    with pytest.raises(InputError, match="study study 2: its inputs are not stored yet"):
        CliRunner().invoke(root, [*arguments, "--study", "study 2"], catch_exceptions=False)


def test_a_study_that_ends_while_a_worker_joins_it_is_not_a_fault(
    trainers, inputs, make_spec, tmp_path, monkeypatch
):
    url, store = f"sqlite:///{tmp_path}/study.db", tmp_path / "store"
    spec = make_spec(population=2, epochs=4)
    study = JobStudy.create(url, spec, "study", 10)
    open_artifacts(str(store), "study").put_inputs(inputs, spec.inputs)
    study.publish(str(store))
    study.close()
    arguments = ["worker", "--storage", url, "--wait", "0", "--workers", "1"]
    call(*arguments)
    shutil.rmtree(store)  # as who began it does
    looks = iter(["study", None])  # at the first look it was unfinished
    monkeypatch.setattr(working, "_oldest_unfinished", lambda *_: next(looks))
    call(*arguments)
    with pytest.raises(RunError, match="is missing"):
        CliRunner().invoke(root, [*arguments, "--study", "study"], catch_exceptions=False)


def test_a_study_of_gpus_is_refused_without_one(trainers, inputs, make_spec, tmp_path):
    url, store = f"sqlite:///{tmp_path}/study.db", str(tmp_path / "store")
    spec = make_spec(device="cuda")
    study = JobStudy.create(url, spec, "wide", 10)
    open_artifacts(store, "wide").put_inputs(inputs, spec.inputs)
    study.publish(store)
    study.close()
    with pytest.raises(
        InputError, match=r"study .*: trains on GPUs \(cuda\), and PyTorch finds none"
    ):
        CliRunner().invoke(
            root, ["worker", "--storage", url, "--study", "wide"], catch_exceptions=False
        )
    # where none is named it is left to others, and told
    done = CliRunner().invoke(root, ["worker", "--storage", url, "--wait", "0"])
    assert "study wide: trains on GPUs" in done.stderr
    assert isinstance(done.exception, InputError)
    # nothing was claimed
    assert not JobStudy.open(url, "wide").read().trials


def test_more_processes_than_slots_end_with_the_work(trainers, inputs, make_spec, tmp_path, digest):
    url, store = f"sqlite:///{tmp_path}/study.db", str(tmp_path / "store")
    spec = make_spec(population=2, epochs=4)
    wanted = digest(run(spec, inputs, tmp_path / "undisturbed"))
    study = JobStudy.create(url, spec, spec.name, 10)
    open_artifacts(store, spec.name).put_inputs(inputs, spec.inputs)
    study.publish(store)
    study.close()
    call("worker", "--storage", url, "--wait", "0", "--workers", "6")
    found = run(spec, inputs, tmp_path / "state", storage=Storage(url, store))
    assert digest(found) == wanted
    with pytest.raises(InputError, match="--workers many: is not a number from 1 to 256 or auto"):
        CliRunner().invoke(
            root, ["worker", "--storage", url, "--workers", "many"], catch_exceptions=False
        )
