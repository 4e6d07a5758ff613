"""The same stage in two work trees of one project, in processes."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

STAGE = """
import sys, time
from pathlib import Path
import click
from rolekd.cli import run
from rolekd.stages.handover import Handover

@click.command()
@click.argument("state", type=Path)
@click.argument("fails", required=False)
def main(state, fails):
    with Handover(state, [Path("out"), Path("out.json")]).turn("stage x"):
        with (state.parent / "runs").open("a") as file:
            file.write("x")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (state.parent / "go").exists():
            time.sleep(0.01)
        Path("out").mkdir()
        Path("out/a").write_text("a result")
        if fails:
            raise ValueError("fails")
        Path("out.json").write_text("{}")

run(main, "x")
"""


class Trees:
    """Work trees that share a state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state" / "x-0123"
        self.state.parent.mkdir()

    def start(self, name: str, *more: str) -> subprocess.Popen[str]:
        (self.folder / name).mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-c", STAGE, str(self.state), *more],
            cwd=self.folder / name,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for(self, pattern: str, count: int = 1) -> None:
        deadline = time.monotonic() + 60
        while len(list(self.state.parent.glob(pattern))) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def go(self) -> None:
        (self.state.parent / "go").touch()

    @property
    def runs(self) -> int:
        return len((self.state.parent / "runs").read_text())


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees(tmp_path)


def test_who_waits_finds_the_result(trees: Trees) -> None:
    first = trees.start("a")
    trees.wait_for("runs")
    others = [trees.start("b"), trees.start("c")]
    trees.wait_for("*.waiting-*", 2)
    trees.go()
    assert [process.wait(60) for process in (first, *others)] == [0, 0, 0]
    assert trees.runs == 1
    for name in "abc":
        assert (trees.folder / name / "out/a").read_text() == "a result"
        assert (trees.folder / name / "out.json").read_text() == "{}"
    assert f"runs in {trees.folder / 'a'}" in (others[0].stdout or sys.stdin).read()
    left = {path.name for path in trees.state.parent.iterdir()}
    assert left == {"runs", "go"}


def test_where_the_first_fails_the_second_does_it(trees: Trees) -> None:
    first = trees.start("a", "fails")
    trees.wait_for("runs")
    second = trees.start("b")
    trees.wait_for("*.waiting-*")
    trees.go()
    assert (first.wait(60), second.wait(60)) == (1, 0)
    assert trees.runs == 2
    assert (trees.folder / "b/out/a").is_file()


def test_in_one_work_tree_the_second_is_refused(trees: Trees) -> None:
    first = trees.start("a")
    trees.wait_for("runs")
    output, _ = trees.start("a").communicate(timeout=60)
    assert "stage x is already running" in output
    trees.go()
    assert first.wait(60) == 0
