"""A study that is killed, and one that workers elsewhere help with: the same rows."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from small_studies import STUDY, rows_of

from rolekd import yamlfiles
from rolekd.evidence.records import find

pytestmark = pytest.mark.slow
CODE = "from rolekd.cli import main; main()"


def _start(folder, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def make_project(tmp_path):
    def make(name):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "params.yaml").write_text("")
        (folder / "study.yaml").write_text(yamlfiles.dump(STUDY))
        return folder

    return make


@pytest.fixture
def undisturbed(make_project):
    folder = make_project("undisturbed")
    process = _start(folder, "study", "study.yaml", "--workers", "1")
    assert process.wait() == 0, process.stderr.read()
    return rows_of(find("small", folder / "results" / "records"))


def test_killed_at_random_instants_it_ends_in_the_same_rows(make_project, undisturbed):
    folder, chance, kills, longest = make_project("killed"), random.Random(5), 0, 8.0
    while True:
        process = _start(folder, "study", "study.yaml", "--workers", "2")
        try:
            assert process.wait(chance.uniform(4.0, longest)) == 0, process.stderr.read()
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            longest *= 1.3  # in the end it gets through
    assert kills > 0
    assert rows_of(find("small", folder / "results" / "records")) == undisturbed


def test_a_worker_elsewhere_helps_with_every_part(make_project, undisturbed, tmp_path):
    storage = {
        "ROLEKD_STORAGE": f"sqlite:///{tmp_path / 'fleet.db'}",
        "ROLEKD_ARTIFACTS": str(tmp_path / "store"),
    }
    folder = make_project("shared")
    optuna.storages.RDBStorage(storage["ROLEKD_STORAGE"])  # a worker waits in one that is there
    (tmp_path / "elsewhere").mkdir()
    worker = _start(tmp_path / "elsewhere", "worker", "--wait", "60", **storage)
    # the study takes little longer than a worker to start: not before it looks for work
    while "_sqlite3" not in Path(f"/proc/{worker.pid}/maps").read_text():
        time.sleep(0.05)
    process = _start(folder, "study", "study.yaml", "--workers", "1", **storage)
    assert process.wait() == 0, process.stderr.read()
    os.killpg(worker.pid, signal.SIGTERM)
    said = worker.communicate()[1]
    assert "worker on study-small-digits-" in said
    assert rows_of(find("small", folder / "results" / "records")) == undisturbed
