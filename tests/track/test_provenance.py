import os
import subprocess
from pathlib import Path

import pytest

from rolekd.registry import promotion
from rolekd.track import provenance


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    for name in ("a.py", "dvc.lock", "params.yaml", "photos.dvc"):
        (tmp_path / name).write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "first")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True)


def test_clean_checkout(repository: Path) -> None:
    found = provenance.collect(repository)
    assert len(found.commit) == 40
    assert not found.dirty
    assert found.tags()["mlflow.source.git.commit"] == found.commit
    assert found.tags()["git.dirty"] == "false"


@pytest.mark.parametrize(
    ("name", "dirty"),
    [
        ("a.py", True),
        ("new.py", True),
        ("dvc.lock", False),
        ("params.yaml", False),
        ("photos.dvc", False),
    ],
)
def test_dirty_checkout(repository: Path, name: str, dirty: bool) -> None:
    (repository / name).write_text("2")
    assert provenance.collect(repository).dirty is dirty


def test_what_git_cannot_tell_is_not_called_clean(repository: Path) -> None:
    (repository / ".git/index").write_text("damaged")
    found = provenance.collect(repository)
    assert len(found.commit) == 40
    assert found.dirty is None
    assert found.tags()["git.dirty"] == "unknown"


def test_outside_git(tmp_path: Path) -> None:
    found = provenance.collect(tmp_path)
    assert (found.commit, found.dirty, found.lock) == ("", None, "")
    assert found.tags()["git.dirty"] == "unknown"
    assert "mlflow.source.git.commit" not in found.tags()


def test_dvc_and_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "train_teacher")
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    monkeypatch.delenv("DVC_EXP_BASELINE_REV", raising=False)
    (tmp_path / "requirements.lock").write_text("numpy==2\n")
    found = provenance.collect(tmp_path)
    assert found.dvc == {"dvc.stage": "train_teacher"}
    assert len(found.lock) == 64


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that is started with --user 12345."""

    def fail() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", fail)
    assert provenance.user() == str(os.getuid())
    by = promotion._who()["by"]
    assert str(by).startswith(f"{os.getuid()}@")
