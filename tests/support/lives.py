"""Processes of a project under test: found by a mark in their environment, killed, waited for."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MARK = "ROLEKD_TEST_MARK"  # every descendant inherits it, also where its parent is gone


@dataclass(frozen=True)
class Process:
    """A living process: its number, its parent's and its command line."""

    pid: int
    parent: int
    words: tuple[str, ...]

    @property
    def stage(self) -> str | None:
        """What it runs of the pipeline, as in "distill kd"; None for anything else."""
        if "-m" not in self.words or "python" not in self.words[0]:
            return None
        module, *rest = self.words[self.words.index("-m") + 1 :]
        if not module.startswith("pipelines."):
            return None
        return " ".join([module.removeprefix("pipelines."), *rest[1::2]])

    def kill(self) -> None:
        """Kill it as the kernel does where memory is short."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def marked(mark: str) -> list[Process]:
    """Return the living processes whose environment holds the mark."""
    entry = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if entry not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            status = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # ended meanwhile, or not ours
            continue
        if status[0] not in "ZX":
            found.append(Process(int(folder.name), int(status[1]), tuple(words[:-1])))
    return found


def stage_of(living: list[Process]) -> Process | None:
    """Return the process of the stage that runs; its workers, which are forks, are none."""
    stages = {one.pid: one for one in living if one.stage}
    return next((one for one in stages.values() if one.parent not in stages), None)


def workers_of(stage: Process, living: list[Process]) -> list[Process]:
    """Return the worker processes of a search: forks of it, or interpreters that replaced them."""
    return [
        one
        for one in living
        if one.parent == stage.pid and (one.stage or "spawn_main" in " ".join(one.words))
    ]


def until(condition: Callable[[], object], seconds: float) -> bool:
    """Wait for a condition; tell whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
