"""`rolekd bench step --against`: two trees, the same steps, and nothing left behind."""

import io
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import against, students
from rolekd.errors import InputError, RunError

ROOT = Path(__file__).parents[2]


def git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def head() -> str:
    name = git("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if not name:
        pytest.skip("this folder has no git history")
    return name


def test_a_commit_is_measured_and_its_tree_removed(head: str, monkeypatch: pytest.MonkeyPatch):
    before = git("worktree", "list")
    monkeypatch.setattr(against, "STUDENTS", {"digits, lsq": students.STUDENTS["digits, lsq"]})
    monkeypatch.setattr(against, "_BURST", {8: 1})
    result = against.run("HEAD", rounds=1, threads=1)
    (row,) = result["steps"]
    assert result["commit"] == head
    assert row["faster"] == pytest.approx(row["then_ms"] / row["now_ms"], rel=0.01)
    assert git("worktree", "list") == before
    out = io.StringIO()
    Console(file=out, width=120).print(against.table(result))
    assert "digits, lsq" in out.getvalue()
    assert head[:7] in out.getvalue()


def test_a_tree_is_removed_after_an_error(head: str):
    before = git("worktree", "list")
    with pytest.raises(ZeroDivisionError), against._worktree(head) as tree:
        assert (tree / "pyproject.toml").exists()
        raise ZeroDivisionError
    assert not tree.exists()
    assert git("worktree", "list") == before


def test_code_without_steps_is_told_in_one_line(tmp_path: Path):
    (tmp_path / "rolekd").mkdir()
    (tmp_path / "rolekd" / "__init__.py").write_text("raise OSError('of another time')")
    with (
        against._Process(tmp_path, 1) as process,
        pytest.raises(RunError, match="cannot be measured, it says: OSError: of another time"),
    ):
        process.ask("digits, lsq 1")


def test_a_folder_without_history_has_no_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(against, "_ROOT", tmp_path)
    with pytest.raises(InputError, match="no such commit"):
        against.run("HEAD", rounds=1, threads=1)


@pytest.mark.parametrize("name", ["digits, dorefa", "32x32, lsq"])
def test_the_students_are_those_of_the_issue(name: str):
    side, channels, batch, quantizer = students.STUDENTS[name]
    params = students._params(batch, quantizer)
    assert (params.student.model.name, params.student.model.width) == ("resnet8", 8)
    assert params.distill.loss == {"soft": 1.0, "rkd": 0.1}
    assert params.student.training.batch_size == batch
    assert params.student.quantizer == quantizer
    assert students._random(side, channels, 10).images.shape == (10, side, side, channels)
