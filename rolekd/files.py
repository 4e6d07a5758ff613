"""Files that are complete or absent: atomic writes, bounded reads and hashes.

Standard library only; everything in rolekd that writes a result goes through here, and whatever
reads a file that somebody else may have put there.
"""

import contextlib
import csv
import errno
import glob
import hashlib
import io
import json
import os
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rolekd.errors import InputError, RunError, brief

# bytes of a JSON file: parsed, the worst of them is 25 times as large
MOST_JSON = 2**24
# content of a file of which nothing is to be said; DVC warns of files without any
NOTHING = "\n"

# what is written is called so until it is complete: tempfile's eight letters, before the suffix
_TEMPORARY = ".*-????????*"


@contextlib.contextmanager
def replacing(path: Path | str, *, lasting: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it over `path`.

    On an error the temporary file is removed and `path` stays as it was. The temporary keeps
    the suffix of `path`, since some writers choose their format by it. What need not outlast the
    machine's next fall, a cache, is not `lasting` and waits for no disk.
    """
    path = Path(path)
    with _place_beside(path):
        descriptor, name = tempfile.mkstemp(
            prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent
        )
    os.close(descriptor)
    temporary = Path(name)
    try:
        with _writing(path):
            yield temporary
            if lasting:
                _sync(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
            if lasting:
                _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; on success it replaces `path`."""
    path = Path(path)
    with _place_beside(path):
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        with _writing(path):
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            for file in filter(Path.is_file, temporary.rglob("*")):
                _sync(file)
            if path.exists():
                shutil.rmtree(path)
            temporary.replace(path)
            _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unfinished(folder: Path) -> list[Path]:
    """Return what `replacing` and `replacing_folder` have not finished below `folder`, outermost.

    It is being written, or was when its process was killed.
    """
    found = sorted(folder.rglob(_TEMPORARY))
    return [path for path in found if not any(other in path.parents for other in found)]


def clear_unfinished(path: Path) -> None:
    """Remove what killed processes have left of `path`, and of what is below it.

    Only for who alone writes there.
    """
    stem, suffix = glob.escape(path.stem), glob.escape(path.suffix)
    patterns = {f".{glob.escape(path.name)}-????????", f".{stem}-????????{suffix}"}
    beside = [left for pattern in patterns for left in path.parent.glob(pattern)]
    for left in [*beside, *unfinished(path)]:
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def _place_beside(path: Path) -> Iterator[None]:
    """Make the folder of `path` and, in the block, what is written before it takes its name."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot write here ({error.strerror}); "
            "choose a writable folder or change its permissions"
        ) from error


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Tell of a disk that fails or is full while `path` is written in the block."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path}: writing failed ({error.strerror}); free some space or check the disk, "
            "then run again"
        ) from error


def write_bytes(path: Path | str, data: bytes, *, lasting: bool = True) -> None:
    """Write `data` to `path` atomically; see `replacing`."""
    with replacing(path, lasting=lasting) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any, *, lasting: bool = True) -> None:
    """Write `value` to `path` atomically, as indented JSON with a final newline."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_bytes(path, text.encode(), lasting=lasting)


def write_csv(path: Path | str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows to `path` atomically, as CSV with a header.

    None, or a key that a row lacks, is an empty field; no rows are `NOTHING`.
    """
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, fieldnames=names, lineterminator="\n")
    if rows:
        writer.writeheader()
        writer.writerows(rows)
    write_text(path, text.getvalue() or NOTHING)


def open_regular(path: Path | str, most: int | None = None) -> io.BufferedReader:
    """Open for reading a file of which nothing is known: a regular one of at most `most` bytes.

    A FIFO would let the reader wait forever, and a device has no end; a link to one is as bad.
    They are refused before they are opened, and again after, should they have come between.

    Raises:
        OSError: as `open` does, and for what is not a regular file or is too large; `strerror`
            says which.
    """
    try:
        _require_regular(Path(path).stat(), path, most)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except ValueError as error:  # a zero byte, or half of a surrogate pair
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from error
    try:
        _require_regular(os.fstat(descriptor), path, most)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path | str, most: int) -> bytes:
    """Read what `open_regular` opens, and raise as it does; a file that grows is bounded too."""
    with open_regular(path, most) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise _too_large(len(content), path, most)
    return content


def _require_regular(status: os.stat_result, path: Path | str, most: int | None) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is a pipe or a device, not a regular file", str(path))
    if most is not None and status.st_size > most:
        raise _too_large(status.st_size, path, most)


def _too_large(size: int, path: Path | str, most: int) -> OSError:
    return OSError(errno.EFBIG, f"has {size:,} bytes, more than {most:,}", str(path))


def read_json(path: Path | str) -> Any:
    """Read a JSON file, with each key once; any fault is an `InputError` that names the file."""
    try:
        return json.loads(read_bytes(path, MOST_JSON).decode(), object_pairs_hook=_object)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); run the stage that writes it first"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); write it again") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        (key, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"{brief(key)} is given twice")
    return content


def sha256(path: Path | str) -> str:
    """Return the hex SHA-256 of a file's content."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_path(path: Path | str) -> str:
    """Return the hex SHA-256 of a file, or of a folder's names and contents.

    What Python caches beside sources (`__pycache__`) does not count.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(
            f"{path}: is missing; run the stage that writes it first (dvc repro), or dvc pull"
        )
    try:
        if path.is_file():
            return sha256(path)
        return digest(
            {
                file.relative_to(path).as_posix(): sha256(file)
                for file in sorted(_everything(path))
                if file.is_file() and "__pycache__" not in file.parts
            }
        )
    except OSError as error:
        raise InputError(
            f"{error.filename or path}: cannot be read ({error.strerror}); change its permissions"
        ) from error


def _everything(folder: Path) -> Iterator[Path]:
    """Yield what lies below a folder; unlike `Path.rglob`, a folder that is closed is an error."""

    def fail(error: OSError) -> NoReturn:
        raise error

    for place, _, names in os.walk(folder, onerror=fail):
        yield from (Path(place, name) for name in names)


def digest(value: Any) -> str:
    """Return the hex SHA-256 of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
