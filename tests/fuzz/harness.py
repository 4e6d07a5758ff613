"""Fuzzing: a target's examples are damaged, read twice in a child process, and judged.

A case is a folder of files. It is a function of target, seed and number, so that one number is
enough to have it again: `make fuzz TARGET=params SEED=0 CASE=123`.
"""

import importlib
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from fuzz import usage

# for one case: of a processor, or in which it waits for anything but one; where others want the
# processors too, it takes longer, and that says nothing of it
SECONDS = 5.0
MEMORY = 1 << 30  # bytes that one case may add to its process
RECYCLE = 400  # cases of one process
FAULTS = ("unexpected", "message", "wrong", "differs", "hang", "memory", "crash")
MOST_NAMED = 100
# name -> cases that `make fuzz` makes of 10,000, the named ones not counted
TARGETS = {
    "params": 2400,
    "schedules": 2400,
    "logs": 1600,
    "weights": 900,
    "states": 300,
    "spools": 300,
    "graphs": 700,
    "images": 800,
    "requests": 600,
    "names": 30,
}


class Refused(Exception):  # noqa: N818
    """A reader's answer that the input is none; the message is what a user would see."""


@dataclass(frozen=True)
class Special:
    """Something that is not a regular file: a FIFO, or a link to somewhere."""

    link: str | None = None

    def make(self, path: Path) -> None:
        """Put it there."""
        if self.link is None:
            os.mkfifo(path)
        else:
            path.symlink_to(self.link)


Case = Mapping[str, bytes | Special]  # name in the folder -> content


class Target(Protocol):
    """How to make inputs of one reader, and how to read them.

    Attributes:
        origin: what a message must name; the file, for readers of files.
        named: inputs that were once found to do harm; the first cases.
    """

    origin: str
    named: Mapping[str, Case]

    def case(self, chance: random.Random) -> Case:
        """Return a damaged example."""

    def read(self, folder: Path) -> Any:
        """Read it, and return an answer that two reads can be compared by.

        Raises:
            RolekdError: it is refused; also `Refused`.
            AssertionError: it was accepted as something that it is not.
        """


@dataclass
class Result:
    """What came of a target's cases; `faults` are (number, kind, cause)."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str, str]] = field(default_factory=list)
    longest: float = 0.0  # seconds of a processor
    largest: int = 0  # bytes

    def add(self, number: int, kind: str, cause: str, seconds: float, size: int) -> None:
        """Count a case."""
        self.counts[kind] += 1
        self.longest, self.largest = max(self.longest, seconds), max(self.largest, size)
        if kind not in ("accepted", "refused"):
            self.faults.append((number, kind, cause))

    def update(self, other: "Result") -> None:
        """Count the cases of another one too."""
        self.counts += other.counts
        self.faults += other.faults
        self.longest = max(self.longest, other.longest)
        self.largest = max(self.largest, other.largest)


def load(name: str) -> Target:
    """Make a target; it may take seconds and is done in the process that reads."""
    module, _, argument = name.partition(":")
    kind = importlib.import_module(f"fuzz.{module}" if argument else f"fuzz.targets.{module}")
    made: Target = kind.Target(argument) if argument else kind.Target()
    return made


def cases(count: int) -> range:
    """Return the numbers of all named cases, which are negative, and of `count` others."""
    return range(-MOST_NAMED, count)


def make_case(target: Target, name: str, seed: int, number: int) -> Case:
    """Return a case; the negative ones are the named ones, whatever the seed."""
    if number < 0:
        return list(target.named.values())[number]
    return target.case(random.Random(f"{name} {seed} {number}"))


def lay(case: Case, folder: Path) -> None:
    """Write a case's files."""
    for name, content in case.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content.make(path) if isinstance(content, Special) else path.write_bytes(content)


def judge(target: Target, case: Case) -> tuple[str, str]:
    """Read a case twice; return what came of it, and the cause where that is a fault."""
    answers = []
    for _ in range(2):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
            folder = Path(place)
            lay(case, folder)
            kind, answer = _read(target, folder)
            answers.append((kind, str(answer).replace(place, "")))
        if kind not in ("accepted", "refused"):
            return kind, answer
    if answers[0] != answers[1]:
        return "differs", f"{answers[0][1]:.200} | {answers[1][1]:.200}"
    if kind == "refused" and (wrong := _wrong_message(answers[0][1], target.origin)):
        return "message", f"{wrong}: {answers[0][1]!r:.300}"
    return kind, ""


def _read(target: Target, folder: Path) -> tuple[str, Any]:
    from rolekd.display import ERROR_LENGTH, shown
    from rolekd.errors import RolekdError

    try:
        return "accepted", target.read(folder)
    except (RolekdError, Refused) as error:
        return "refused", shown(error, ERROR_LENGTH)
    except AssertionError as error:
        return "wrong", " ".join(str(error).split())[:300] or _where(error)
    except Exception as error:
        return "unexpected", f"{type(error).__name__}: {str(error)[:200]!r} {_where(error)}"


def _where(error: BaseException) -> str:
    """Return the innermost line of ours that an error came through."""
    ours = [f for f in traceback.extract_tb(error.__traceback__) if "/rolekd/" in f.filename]
    return f"({Path(ours[-1].filename).name}:{ours[-1].lineno})" if ours else "(not in rolekd)"


def _wrong_message(message: str, origin: str) -> str | None:
    """Return what is wrong with a message that a user would see; None: nothing."""
    from rolekd.display import ERROR_LENGTH

    if len(message) > ERROR_LENGTH:
        return f"{len(message)} characters"
    if not message.isprintable():
        return "holds controls"
    if origin not in message:
        return f"does not name {origin}"
    return None


def work(
    name: str, seed: int, numbers: range, done: set[int], folder: str, pipe: Connection
) -> None:
    """Judge cases in this process; say of each when it begins and what came of it.

    The last message is whether any are left.
    """
    os.environ.update(OMP_NUM_THREADS="1", COLUMNS="100")
    tempfile.tempdir = folder
    target = load(name)  # where that fails, it is seen why
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):  # native code writes there too
        os.dup2(silence, stream.fileno())
    # only here it is known how many named ones there are
    left = [n for n in numbers if n not in done and n >= -len(target.named)]
    for number in left[:RECYCLE]:
        before = usage.mark_peak()
        pipe.send((number, None))
        began = time.process_time()
        try:
            kind, cause = judge(target, make_case(target, name, seed, number))
        except Exception as error:
            kind, cause = "unexpected", f"{type(error).__name__}: {error} (of the harness)"
        seconds, grown = time.process_time() - began, usage.peak() - before
        if kind in ("accepted", "refused") and grown > MEMORY:
            kind, cause = "memory", f"{grown >> 20} MB"
        if kind in ("accepted", "refused") and seconds > 2 * SECONDS:  # it was read twice
            kind, cause = "hang", f"{seconds / 2:.1f} s"
        pipe.send((number, (kind, cause, seconds / 2, grown)))
    pipe.send(len(left) > RECYCLE)


def fuzz(name: str, seed: int, numbers: range) -> Result:
    """Judge cases of a target, in processes that are ended where a case does not end.

    Args:
        name: of the target.
        seed: of its cases.
        numbers: of them; see `cases`.
    """
    result = Result()
    done: set[int] = set()
    # what ended processes leave goes with it
    with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as folder:
        while _in_a_process(name, seed, numbers, done, folder, result):
            pass
    return result


def _in_a_process(
    name: str, seed: int, numbers: range, done: set[int], folder: str, result: Result
) -> bool:
    """Judge cases that are not done, till one has to be ended; return whether any may be left."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(name, seed, numbers, done, folder, theirs))
    process.start()
    theirs.close()
    number, watch = None, usage.Watch(process.pid or 0)

    def add(kind: str, cause: str, seconds: float, size: int) -> None:
        assert number is not None, f"target {name} cannot be made: {kind}"
        result.add(number, kind, cause, seconds, size)
        done.add(number)

    try:
        while True:
            if not ours.poll(0.2):
                if number is not None and (fault := _fault(watch)):
                    add(*fault, watch.seconds(), watch.grown())
                    return True
                continue
            try:
                message = ours.recv()
            except EOFError:
                process.join()
                add("crash", f"exit code {process.exitcode}", 0.0, 0)
                return True
            if isinstance(message, bool):
                return message
            if message[1] is None:
                number, watch = message[0], usage.Watch(process.pid or 0)
            else:
                add(*message[1])
                number = None
    finally:
        process.kill()
        process.join()


def _fault(watch: usage.Watch) -> tuple[str, str] | None:
    """Return why a case has to be ended with its process, if it has."""
    if watch.grown() > 2 * MEMORY:
        return "memory", f"over {watch.grown() >> 20} MB"
    if watch.idle() > SECONDS:
        return "hang", "waits"
    if watch.seconds() > 2 * SECONDS:  # it is read twice
        return "hang", f"{watch.seconds() / 2:.1f} s of a processor"
    return None


def keep(name: str, seed: int, result: Result, folder: Path) -> None:
    """Save the cases that failed, with why; what it takes to make them ends with a process."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_keep, args=(name, seed, result, folder))
    process.start()
    process.join()


def _keep(name: str, seed: int, result: Result, folder: Path) -> None:
    target = load(name)
    for number, kind, cause in result.faults:
        place = folder / f"{name}-{seed}-{number}"
        shutil.rmtree(place, ignore_errors=True)
        (place / "files").mkdir(parents=True)
        (place / "why.txt").write_text(f"{kind}: {cause}\n", errors="replace")
        lay(make_case(target, name, seed, number), place / "files")


def table(results: Mapping[str, Result]) -> str:
    """Return the counts of all targets as text."""
    kinds = ["accepted", "refused", *FAULTS]
    rows = [["target", "cases", *kinds, "longest s", "largest MB"]]
    whole = Result()
    for name, result in [*results.items(), ("all", whole)]:
        counts = [result.counts[kind] for kind in kinds]
        if result is not whole:
            whole.update(result)
        most = f"{result.longest:.2f}", f"{result.largest >> 20}"
        rows.append([name, *map(str, [sum(counts), *counts]), *most])
    return "\n".join("".join(f"{cell:>11}" for cell in row) for row in rows)
