"""Steps of the small students against those of an earlier commit, in interleaved rounds.

Each of the two trees has a process, with the same packages and the same script,
`benchmarks/students.py`; only one of them works at a time.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from rich.table import Table

from benchmarks.students import STUDENTS
from rolekd.errors import InputError, RunError, one_line

_ROOT = Path(__file__).parents[1]
_SCRIPT = Path(__file__).with_name("students.py")
_BURST = {8: 50, 32: 8}  # steps in a burst by the images' side: about a second


def run(commit: str, rounds: int, threads: int) -> dict[str, Any]:
    """Measure this tree's steps and those of `commit`.

    Returns:
        "commit", the full name; "steps": for each of `STUDENTS` the medians "then_ms" and "now_ms",
        milliseconds of processor time, and "faster", the median of the rounds' ratios.

    Raises:
        InputError: There is no such commit here.
        RunError: Its code cannot be measured.
    """
    name = _resolve(commit)
    with _worktree(name) as tree, _Process(tree, threads) as then, _Process(_ROOT, threads) as now:
        found = [_round((then, now), number) for number in range(rounds)]
    rows = []
    for student in STUDENTS:
        pairs = [each[student] for each in found]
        rows.append(
            {
                "step": student,
                "then_ms": round(statistics.median(pair[0] for pair in pairs), 2),
                "now_ms": round(statistics.median(pair[1] for pair in pairs), 2),
                "faster": round(statistics.median(pair[0] / pair[1] for pair in pairs), 3),
            }
        )
    return {"commit": name, "rounds": rounds, "threads": threads, "steps": rows}


def table(result: dict[str, Any]) -> Table:
    """Return the result as a table for a terminal."""
    shown = Table(
        title=f"Steps of ResNet8, width 8, W2A2, against {result['commit'][:7]}",
        caption=f"Processor time, medians of {result['rounds']} rounds.",
        title_justify="left",
        caption_justify="left",
    )
    for heading in ("step", "ms then", "ms now", "times faster"):
        shown.add_column(heading, justify="left" if heading == "step" else "right")
    for row in result["steps"]:
        numbers = (row["then_ms"], row["now_ms"], row["faster"])
        shown.add_row(row["step"], *(f"{number:.2f}" for number in numbers))
    return shown


def _round(processes: "tuple[_Process, _Process]", number: int) -> dict[str, list[float]]:
    """Return the milliseconds of a step, then and now, of every student."""
    found = {}
    for student, (side, *_) in STUDENTS.items():
        taken = [0.0, 0.0]
        for place in (0, 1) if number % 2 else (1, 0):
            taken[place] = float(processes[place].ask(f"{student} {_BURST[side]}"))
        found[student] = taken
    return found


class _Process:
    """The script with the code of a tree, of which it is told nothing but the number of threads."""

    def __init__(self, tree: Path, threads: int) -> None:
        self._tree, self._errors = tree, tempfile.TemporaryFile("w+")  # noqa: SIM115
        # -P: the folder of the script, which is of this tree, stays off the path
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_SCRIPT), str(threads)],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def ask(self, line: str) -> str:
        """Send a line and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        if not answer:
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines() or ["nothing"]
            raise RunError(
                f"bench step --against: steps of {self._tree} cannot be measured, it says: "
                f"{one_line(ValueError(said[-1]), 200)}"
            )
        return answer


@contextlib.contextmanager
def _worktree(commit: str) -> Iterator[Path]:
    """Check a commit out into a folder that is removed again."""
    with tempfile.TemporaryDirectory(prefix="rolekd-against-") as folder:
        tree = Path(folder).resolve() / commit
        added = _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        if added.returncode:
            raise RunError(f"bench step: git worktree: {one_line(ValueError(added.stderr), 200)}")
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _resolve(commit: str) -> str:
    """Return the full name of a commit of this checkout."""
    found = _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
    if found.returncode:
        raise InputError(
            f"bench step --against {commit}: no such commit in {_ROOT}; `git log` shows those "
            "that are there"
        )
    return found.stdout.strip()


def _git(*words: str) -> "subprocess.CompletedProcess[str]":
    command = ["git", "-C", str(_ROOT), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise InputError(
            f"bench step --against: git does not run ({one_line(error)}); install it"
        ) from None
