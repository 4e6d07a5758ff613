import functools
import json
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import get_args

import click
import numpy as np
import pytest
import yaml
from PIL import Image
from projects import ARMS

from rolekd import cli, files
from rolekd.cli import report
from rolekd.outputs import Outputs, run_ids
from rolekd.params import TeacherName, load
from rolekd.report.histories import read_rows
from rolekd.report.style import colours

pytestmark = pytest.mark.timeout(600)


def _read(project, path):
    return json.loads((project.folder / path).read_text())


def _runs(project):
    """Return stage -> id of the MLflow run that made its outputs."""
    # no arm asks for the plain teacher: no run made it
    return run_ids(Outputs(project.folder / "outputs"))


def _stages_run(output):
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}


def test_a_run_leaves_what_it_promises(project):
    expected = ["search_teacher/schedule.json", "search_student/lineage.json", "report/index.html"]
    expected += ["search_teacher/population.svg", "train_teacher/searched/weights.safetensors"]
    expected += [f"distill/{arm}/weights/seed-1.safetensors" for arm in ARMS]
    for name in expected:
        assert (project.folder / "outputs" / name).stat().st_size > 0
    arms = _read(project, "outputs/evaluate/arms.json")
    assert [row["arm"] for row in arms["arms"]] == list(ARMS)
    assert all(len(row["test_accuracies"]) == 2 for row in arms["arms"])
    rows = read_rows(project.folder / "outputs/evaluate/epochs.csv")
    compare = load(project.folder / "params.yaml").compare
    assert {row["arm"]: row["colour"] for row in rows} == colours(compare)
    exported = _read(project, "outputs/export/metrics.json")
    verified = _read(project, "outputs/export/verification.json")
    assert verified["argmax_equal"] == verified["images"] == arms["images"]
    rolewise = arms["arms"][-1]
    # the graph is the first seed's student, whatever the others reached
    assert exported["test_accuracy"]["exported"] == pytest.approx(
        rolewise["test_accuracies"][0], abs=1e-12
    )
    # it needs no network: what it links to is MLflow's, here
    page = (project.folder / "outputs/report/index.html").read_text().split("<svg")[0]
    links = re.findall(r'(\S{6})(https?://[^/"]*)', page)
    assert set(links) == {('href="', "http://127.0.0.1:5000")}


def test_no_stage_reaches_another_host_or_writes_outside_the_project(project):
    assert project.reached() == []
    assert project.left() == []


ROLEKD = ("python", "-c", "from rolekd.cli import main; main()")
SCHEDULE = "outputs/search_teacher/schedule.json"
# command -> its arguments, exit code; `ui` and `serve` run beside these, until they are ended
COMMANDS = {
    "bench": (["step", "--width", "4", "--rounds", "1", "--json"], 0),
    "compare": (["test@kd-shared", "test@plain"], 0),
    "doctor": (["--json"], 0),
    "download": (["fashion-mnist", "--to", "raw"], 1),
    "estimate": (["--json"], 0),
    "models": (["--json"], 0),
    "params": (["--size", "--taps"], 0),
    "predict": (["--model", "models:/rolekd-digits-student@challenger", "raw.png"], 0),
    "preset": (["list"], 0),
    "promote": (["--dry-run", "--why", "test"], None),  # a student of one epoch: any
    "register": ([], 0),
    "report": (["--registry", "--to", "page.html"], 0),
    "rollback": ([], 2),
    "schedule": (["plot", SCHEDULE, "--out", "page.html"], 0),
    "status": ([], 0),
    "study": (["results/studies/roles.yaml", "--check"], 2),  # the project has no such file
    "summary": ([], 0),
    "sync": ([], 0),
    "weights": (["import", "raw.png", "weights/x.safetensors"], 2),  # is none
    "worker": (["--wait", "0"], 2),  # nothing is unfinished
}


def test_no_command_reaches_another_host_or_writes_outside_the_project(project):
    # `search` is the stage that has run
    assert {*COMMANDS, "search", "serve", "ui"} == set(
        cli.root.list_commands(click.Context(cli.root, **cli.root.context_settings))
    )
    image = np.load(project.folder / "outputs/data/images.npy", mmap_mode="r")[0, :, :, 0]
    Image.fromarray(image).save(project.folder / "raw.png")
    ports = [_free_port() for _ in range(3)]
    model = ("--model", "models:/rolekd-digits-student@challenger")
    servers = [
        _start(project, "serve", *model, "--port", ports[0]),
        _start(project, "ui", "--mlflow-port", ports[1], "--optuna-port", ports[2]),
    ]
    try:
        calls = [[name, *arguments] for name, (arguments, _) in COMMANDS.items()]
        command = ("python", str(Path(__file__).with_name("commands.py")), json.dumps(calls))
        output = project.run(*project.traced(*command))
        codes = dict(zip(COMMANDS, json.loads(output.splitlines()[-1]), strict=True))
        wanted = {
            name: codes[name] if code is None else code for name, (_, code) in COMMANDS.items()
        }
        assert codes == wanted, output
        for port in ports:
            _wait_for(port)
    finally:
        for server in servers:
            server.send_signal(signal.SIGINT)
        for server in servers:
            server.wait(60)
        for name in ("raw", "raw.png", "page.html"):
            _remove(project.folder / name)
    assert "a test refuses to look up" in output  # the download: that it is seen shows the guard
    assert [line for line in project.reached() if '"download"' not in line] == []
    assert project.left() == []


def _start(project, *arguments):
    return subprocess.Popen(
        [*ROLEKD, *map(str, arguments)],
        cwd=project.folder,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # which a shell turns off for what runs in the background
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 180
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            assert time.monotonic() < deadline, f"nothing answers on port {port}"
            time.sleep(0.2)
        else:
            return


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def test_every_stage_leads_to_its_finished_run(project):
    ids = list(_runs(project).values())
    assert len(ids) == 12
    with sqlite3.connect(project.folder / "mlflow.db") as connection:
        runs = dict(connection.execute("SELECT run_uuid, status FROM runs"))
        names = dict(connection.execute("SELECT run_uuid, name FROM runs"))
        tags = connection.execute("SELECT run_uuid, key, value FROM tags").fetchall()
    assert {runs[run] for run in ids} == {"FINISHED"} == set(runs.values())
    assert {names[run] for run in ids} >= {"prepare", "search_teacher", "distill@kd-rolewise"}
    of_run = {(run, key): value for run, key, value in tags}
    for run in ids:
        assert of_run[run, "dvc.stage"].split("@")[0] == names[run].split("@")[0]
        assert len(of_run[run, "fingerprint"]) == 64
    search = next(run for run in ids if names[run] == "search_student")
    children = [
        r for (r, key), value in of_run.items() if (key, value) == ("mlflow.parentRunId", search)
    ]
    found = {names[run].split()[0] for run in children}
    assert found == {"student"}
    assert sum(names[run].startswith("student member") for run in children) == 2
    assert sum(names[run].startswith("student candidate") for run in children) > 1
    # one run of the whole stands above the stages'
    parents = {of_run[run, "mlflow.parentRunId"] for run in ids}
    assert [names[run] for run in parents] == ["dvc repro"]


@pytest.mark.parametrize(
    ("stage", "weights"),
    [
        ("train_teacher@searched", "weights.safetensors"),
        ("distill@kd-shared", "weights/seed-1.safetensors"),
    ],
)
def test_the_page_of_a_run_says_how_its_weights_come_back(project, tmp_path, stage, weights):
    run = _runs(project)[stage]
    with sqlite3.connect(project.folder / "mlflow.db") as connection:
        query = "SELECT value FROM tags WHERE run_uuid = ? AND key = 'mlflow.note.content'"
        (text,) = connection.execute(query, (run,)).fetchone()
    (script,) = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    project.run("git", "commit", "-qm", "other", "--allow-empty")
    said = project.run("sh", "-c", f"({script}) || exit 9", code=9)
    assert "no commit has the dvc.lock of this run" in said
    project.run("git", "add", "dvc.lock")
    project.run("git", "commit", "-qm", "the run")
    clone = tmp_path / "clone"
    try:
        project.run("git", "commit", "-qm", "later", "--allow-empty")
        project.run("git", "clone", "-q", str(project.folder), str(clone))
    finally:
        project.run("git", "reset", "-q", "--mixed", "HEAD~3")
    cache = str(project.folder / ".dvc/cache")
    project.run("dvc", "--cd", str(clone), "cache", "dir", cache)  # as `dvc pull` would bring it
    project.run("sh", "-c", f"cd {clone} && {script}")
    folder = Path("outputs") / stage.replace("@", "/")
    assert (clone / folder.name / weights).read_bytes() == (
        project.folder / folder / weights
    ).read_bytes()


def _page():
    return (Path(__file__).parents[2] / "docs/tracking.md").read_text()


# filter -> the metric that the runs have which it finds
_ROW = r"^\| `((?:tags|attributes)\..*?)` \|.*?`(\w+_accuracy(?:\.ARM)?)`.*\|$"
FILTERS = dict(re.findall(_ROW, _page(), re.M))


def _search(project, query):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("rolekd-digits")
    return client.search_runs([experiment.experiment_id], query)


def test_the_filters_are_those_of_the_page():
    assert len(FILTERS) == 8


@pytest.mark.parametrize("query", [query for query in FILTERS if "'NAME'" not in query])
def test_the_filters_of_the_docs_find_runs_with_results(project, query):
    found = _search(project, query)
    assert found
    for run in found:
        name = FILTERS[query].replace("ARM", ARMS[0])
        assert 0 <= run.data.metrics[name] <= 1, run.info.run_name


def test_runs_with_results_carry_what_they_are_searched_by(project):
    members = "tags.stage = 'search_student' and metrics.val_accuracy > 0"
    tags = {"stage", "role", "dvc.stage", "mlflow.source.git.commit"}
    for query, expected in {"tags.split = 'test'": tags | {"arm"}, members: tags}.items():
        for run in _search(project, query):
            assert expected <= set(run.data.tags), run.info.run_name
            assert {"student.bits", "distill.loss", "search.population"} <= set(run.data.params)
    students = _search(project, "tags.role = 'student' and tags.split = 'test'")
    assert {run.info.run_name for run in students} == {f"test@{arm}" for arm in ARMS}


def test_the_table_of_the_docs_is_one_line(project, monkeypatch):
    import mlflow

    (line,) = re.findall(r"^```python\n(mlflow\.search_runs.*?)^```", _page(), re.M | re.S)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{project.folder}/mlflow.db")
    try:
        table = eval(line, {"mlflow": mlflow})
    finally:
        mlflow.set_tracking_uri(before)
    assert list(table.index) == sorted(ARMS)
    assert "2" in table.columns
    arms = _read(project, "outputs/evaluate/metrics.json")["test_accuracy"]
    assert {arm: table.loc[arm, "2"] for arm in ARMS} == {
        arm: pytest.approx(arms[arm]) for arm in ARMS
    }


def test_metrics_are_a_dozen_and_hold_no_run(project):
    told = json.loads(project.run("dvc", "metrics", "show", "--json"))
    files_of = told["" if "" in told else "workspace"]["data"]
    assert set(files_of) == {"outputs/evaluate/metrics.json", "outputs/export/metrics.json"}
    assert "run_id" not in json.dumps(told)
    evaluated = files_of["outputs/evaluate/metrics.json"]["data"]
    assert set(evaluated["test_accuracy"]) == {"teacher", *ARMS}


def test_no_number_is_logged_under_two_names(project):
    with sqlite3.connect(project.folder / "mlflow.db") as connection:
        rows = connection.execute("SELECT run_uuid, value, key FROM latest_metrics").fetchall()
    alike = {}
    for run, value, key in rows:
        # arms and the exported file may well be as good as each other
        if "." not in key and value != int(value):  # two counts may well be the same
            alike.setdefault((run, value), set()).add(key)
    # a loss without further terms is the cross-entropy; a population may agree
    different = (
        {"train_cross_entropy", "train_loss"},
        {"best_val_accuracy", "median_val_accuracy"},
    )
    assert [names for names in alike.values() if len(names) > 1 and names not in different] == []


def test_a_version_leads_to_everything_that_made_it(project):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    version = client.get_model_version("rolekd-digits-student", "1")
    run = client.get_run(version.run_id)
    commit = project.run("git", "rev-parse", "HEAD").strip()
    assert run.data.tags["dvc.stage"] == version.tags["dvc.stage"] == "register"
    assert run.data.tags["mlflow.source.git.commit"] == version.tags["git_commit"] == commit
    assert (run.data.tags["git.dirty"], version.tags["git_dirty"]) == ("false", "false")
    lock = files.sha256(project.folder / "requirements.lock")
    assert run.data.tags["input.requirements.lock"] == lock
    for role in ("teacher", "student"):
        schedule = project.folder / f"outputs/search_{role}/schedule.json"
        assert version.tags[f"{role}_schedule_sha256"] == files.sha256(schedule)
    data = _read(project, "outputs/prepare/metrics.json")
    assert version.tags["data_digest"] == data["data_digest"]
    exported = client.get_run(version.tags["export_run_id"])
    assert exported.info.run_name == "export"
    assert exported.data.metrics["test_accuracy"] == float(version.tags["test_accuracy"])
    assert float(version.tags["latency_ms"]) > 0


def test_the_student_is_registered_and_serves_the_exported_numbers(project, monkeypatch):
    import mlflow

    version = _read(project, "outputs/register/version.json")
    assert version["name"] == "rolekd-digits-student"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{project.folder}/mlflow.db")
    try:
        client = mlflow.MlflowClient()
        found = client.get_model_version_by_alias("rolekd-digits-student", "challenger")
        model = mlflow.pyfunc.load_model("models:/rolekd-digits-student@challenger")
    finally:
        mlflow.set_tracking_uri(before)
    assert found.tags["weight_bits"] == "2"
    assert {"data_digest", "student_schedule_sha256", "test_accuracy", "git_commit"} <= set(
        found.tags
    )
    images = np.load(project.folder / "outputs/data/images.npy")
    labels = np.load(project.folder / "outputs/data/labels.npy")
    test = np.load(project.folder / "outputs/data/test.npy")
    answer = model.predict(images[test])
    right = (np.asarray(answer["logits"]).argmax(1) == labels[test]).mean()
    assert right == pytest.approx(
        _read(project, "outputs/export/metrics.json")["test_accuracy"]["exported"]
    )


def test_registered_versions_show_what_they_reached(project, monkeypatch):
    reached = _read(project, "outputs/export/metrics.json")["test_accuracy"]["exported"]
    assert f" {100 * reached:.2f} " in project.run(*ROLEKD, "models", "--registry")
    monkeypatch.chdir(project.folder)
    # a client of MLflow in this process may have left the address of another store
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (cost,) = report._registered(Outputs(), load("params.yaml"))
    assert cost.name == "version 1, 2 bits"
    assert cost.accuracy == pytest.approx(reached)


def _aliases(project):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    aliases = client.get_registered_model("rolekd-digits-student").aliases
    return {alias: int(number) for alias, number in aliases.items()}


def test_a_second_repro_does_nothing(project):
    began = time.monotonic()
    output = project.run("dvc", "repro")
    assert not _stages_run(output)
    assert "up to date" in output
    # no claim about speed here: the figure is in the note; a stage would take longer than this
    assert time.monotonic() - began < 120


def test_the_summary_names_table_model_and_what_to_do_next(project):
    output = project.run("python", "-c", "from rolekd.cli import main; main()", "summary")
    assert "rolekd-digits-student version 1" in output
    assert "make ui" in output
    assert all(arm in output for arm in ARMS)


def test_another_quantiser_leaves_the_teacher_alone_and_is_exported_exactly(project):
    before_runs = _runs(project)
    kept = (project.folder / "params.yaml").read_text()
    lock = (project.folder / "dvc.lock").read_text()
    changes = ("student.bits=4", "student.quantizer=lsq", "student.residual=float")
    # a loss with heads on the way: every arm and the search go through it
    changes += ("export.resize=true", "distill.loss=ii")
    output = project.run(
        "dvc", "exp", "run", *(word for change in changes for word in ("-S", change))
    )
    after = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]
    before = yaml.safe_load(lock)["stages"]
    # plan looks at what trains students, for a teacher's search that they judge
    untouched = {"prepare", "search_teacher"}
    untouched |= {f"train_teacher@{name}" for name in get_args(TeacherName)}
    assert {name for name in before if before[name] == after[name]} - {
        "augmentations",
        "plan",
    } == untouched
    assert not untouched & _stages_run(output)
    assert "search_student" in _stages_run(output)
    verified = _read(project, "outputs/export/verification.json")
    assert verified["argmax_equal"] == verified["images"]
    # it is found by its name, and has left the challenger alone
    version = _read(project, "outputs/register/version.json")["version"]
    (tested,) = _search(project, "tags.stage = 'pipeline' and params.\"student.bits\" = '4'")
    name = tested.info.run_name
    named = next(query for query in FILTERS if "'NAME'" in query).replace("NAME", name)
    assert {run.data.tags["arm"] for run in _search(project, named)} == set(ARMS)
    aliases = _aliases(project)
    assert aliases["challenger"] != aliases[name] == version
    # back again: DVC restores what it has, no process runs, and the files name who made them
    assert before_runs != _runs(project)
    (project.folder / "params.yaml").write_text(kept)
    assert "> python" not in project.run("dvc", "repro")
    assert _runs(project) == before_runs


def test_outputs_go_to_a_local_remote_and_come_back(project, tmp_path):
    project.run("dvc", "remote", "add", "-d", "-f", "shelf", str(tmp_path / "shelf"))
    project.run("dvc", "push")
    weights = project.folder / "outputs/train_teacher/searched/weights.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    for file in (project.folder / ".dvc/cache").rglob("*"):
        if file.is_file() and file.read_bytes() == content:
            file.chmod(0o644)
            file.unlink()
    project.run("dvc", "pull", "train_teacher@searched")
    assert weights.read_bytes() == content


def test_exit_codes_reach_the_shell(project):
    main = ("python", "-c", "from rolekd.cli import main; main()")
    values = yaml.safe_load((project.folder / "params.yaml").read_text())
    # a student of one epoch may be any distance from its teacher
    gates = {"teacher_points_lost": 100.0, "accuracy_least": 0.0}
    for code, changes in ((0, gates), (1, gates | {"bytes": 1})):
        (project.folder / "gates.yaml").write_text(yaml.safe_dump(values | {"promote": changes}))
        try:
            said = project.run(*main, "promote", "--dry-run", "--params", "gates.yaml", code=code)
        finally:
            (project.folder / "gates.yaml").unlink()
        assert ("refused by" in said) == (code == 1)
    model = "outputs/export/student.onnx"
    assert "cannot be read" in project.run(*main, "predict", "--model", model, "no.png", code=1)


def test_mlflow_run_runs_the_stages(project):
    output = project.run("mlflow", "run", ".", "-e", "prepare", "--env-manager", "local")
    assert "succeeded" in output
