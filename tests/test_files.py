import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rolekd import files, seeds
from rolekd.errors import InputError, RunError


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "value.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, float("nan"))
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert files.read_json(path) == {"a": 1}
    assert [p.name for p in (tmp_path).iterdir()] == ["value.json"]


def test_a_folder_is_replaced_whole(tmp_path):
    for content in ("one", "two"):
        with files.replacing_folder(tmp_path / "out") as folder:
            (folder / content).write_text(content)
    assert [p.name for p in (tmp_path).iterdir()] == ["out"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["two"]


def test_what_killed_processes_left_is_found_and_removed(tmp_path):
    done = tmp_path / "outputs" / "data"
    with files.replacing_folder(done) as folder:
        (folder / "images.npy").write_text("whole")
    for name in (done.with_name("other.json"), done / "about.json", done / "a" / "b.json"):
        files.write_json(name, 1)
    kept = sorted(tmp_path.rglob("*"))
    if not (child := os.fork()):
        with files.replacing_folder(done) as folder, files.replacing(done / "a" / "b.json"):
            (folder / "images.npy").write_text("half")
            os._exit(0)  # as a kill: nothing after it happens
    os.waitpid(child, 0)
    left = files.unfinished(tmp_path)
    assert sorted({*tmp_path.rglob("*")} - {*kept, left[0] / "images.npy"}) == left
    assert len(left) == 2
    files.clear_unfinished(done)
    assert sorted(tmp_path.rglob("*")) == kept


def test_a_full_disk_is_told_in_one_line_for_files_and_folders(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for replacing in (files.replacing, files.replacing_folder):
        with pytest.raises(RunError, match=r"out: writing failed \(No space left"):  # noqa: SIM117
            with replacing(tmp_path / "out"):
                raise full
    assert not list(tmp_path.iterdir())


def test_what_need_not_last_waits_for_no_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "_sync", synced.append)
    files.write_json(tmp_path / "cache.json", 1, lasting=False)
    assert synced == []
    files.write_json(tmp_path / "cache.json", 2)
    assert synced[-1] == tmp_path
    assert files.read_json(tmp_path / "cache.json") == 2


def test_an_unwritable_place_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write here .*; choose"):
        files.write_text(tmp_path / "file" / "out.txt", "x")


def test_a_kill_at_any_instant_leaves_the_old_or_the_new_content(tmp_path):
    path = tmp_path / "state"
    program = (
        "import sys; from rolekd import files\n"
        "for i in range(10**9): files.write_bytes(sys.argv[1], bytes([i % 256]) * 2_000_000)"
    )
    for attempt in range(5):
        process = subprocess.Popen([sys.executable, "-c", program, str(path)])
        while not path.exists():
            time.sleep(0.01)
        time.sleep(0.05 + 0.037 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        content = path.read_bytes()
        assert len(content) == 2_000_000
        assert content == content[:1] * 2_000_000


def test_digests_do_not_depend_on_the_order_of_keys():
    assert files.digest({"a": 1, "b": [2]}) == files.digest({"b": [2], "a": 1})
    assert files.digest({"a": 1}) != files.digest({"a": 2})


def test_read_json_names_the_file(tmp_path):
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match=r"bad\.json: not valid JSON"):
        files.read_json(tmp_path / "bad.json")
    with pytest.raises(InputError, match=r"none\.json: cannot be read"):
        files.read_json(tmp_path / "none.json")


def test_seeds_differ_in_every_argument_and_never_change():
    values = [
        seeds.derive(0, "order"),
        seeds.derive(1, "order"),
        seeds.derive(0, "augment"),
        seeds.derive(0, "order", 0),
        seeds.derive(0, "order", 1),
        seeds.derive(0, "order", 0, 1),
        seeds.derive(0, "order", 1, 0),
    ]
    assert len(set(values)) == len(values)
    assert all(0 <= value < 2**63 for value in values)
    # runs of other years must be reproducible: the function is part of the format
    assert seeds.derive(0, "order", 1) == 2961819992523135983


def test_digest_of_a_folder_sees_names_and_contents(tmp_path: Path) -> None:
    def folder(name: str, contents: dict[str, str]) -> Path:
        for path, text in contents.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
        return tmp_path / name

    same = [folder(name, {"x": "1", "d/y": "2"}) for name in ("a", "b")]
    others = [folder("c", {"x": "1", "d/z": "2"}), folder("d", {"x": "1", "d/y": "3"})]
    digests = [files.digest_path(path) for path in same + others]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_folder_that_is_closed_is_not_left_out_of_a_hash(tmp_path, monkeypatch):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_text("c")
    real = os.scandir

    def refuse(path):  # tests may run as root, whom no permission stops
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"a/b: cannot be read \(Permission denied\)"):
        files.digest_path(tmp_path / "a")


def _pipe(path):
    os.mkfifo(path)
    return path


def _link(path, target="/dev/zero"):
    path.symlink_to(target)
    return path


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [_pipe, _link], ids=["pipe", "device"])
def test_what_is_not_a_regular_file_is_refused_and_never_read(tmp_path, make):
    path = make(tmp_path / "value.json")
    for read in (files.open_regular, files.sha256, lambda path: files.read_bytes(path, 10)):
        with pytest.raises(OSError, match="is a pipe or a device, not a regular file"):
            read(path)
    with pytest.raises(InputError, match=r"value\.json: cannot be read \(is a pipe or a device"):
        files.read_json(path)


@pytest.mark.timeout(20)
def test_a_pipe_that_takes_the_files_place_in_between_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "value.json"
    path.write_text("1")
    opened = os.open

    def exchanged(name, *arguments):
        path.unlink()
        return opened(_pipe(path), *arguments)

    monkeypatch.setattr(os, "open", exchanged)
    with pytest.raises(OSError, match="not a regular file"):
        files.read_bytes(path, 10)


def test_a_link_to_a_regular_file_is_one(tmp_path):
    (tmp_path / "held").write_bytes(b"content")
    assert files.read_bytes(_link(tmp_path / "name", tmp_path / "held"), 7) == b"content"


def test_sizes_are_bounded_also_of_what_grows(tmp_path, monkeypatch):
    path = tmp_path / "large"
    path.write_bytes(bytes(11))
    with pytest.raises(OSError, match="has 11 bytes, more than 10"):
        files.open_regular(path, 10)
    monkeypatch.setattr(files, "_require_regular", lambda *_: None)  # as if it was small before
    with pytest.raises(OSError, match="has 11 bytes, more than 10"):
        files.read_bytes(path, 10)
    with pytest.raises(InputError, match="more than 16,777,216"):
        monkeypatch.undo()
        with path.open("wb") as file:
            file.truncate(files.MOST_JSON + 1)
        files.read_json(path)


@pytest.mark.parametrize("name", ["x" * 300, "zero\0byte", "half\ud800"])
def test_names_that_no_file_can_have_are_errors_of_the_system(tmp_path, name):
    with pytest.raises(OSError, match=r"File name too long|no file can have this name"):
        files.open_regular(tmp_path / name)


def test_a_key_that_json_gives_twice_is_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"a": {"b": 1, "c": 2, "b": 3}}')
    with pytest.raises(InputError, match=r"a\.json: not valid JSON \('b' is given twice\)"):
        files.read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("rows", "text"),
    [([], "\n"), ([{"a": 1}, {"a": 2, "b": None}, {"b": 3}], "a,b\n1,\n2,\n,3\n")],
)
def test_rows_with_other_keys_fit_one_table(tmp_path, rows, text):
    files.write_csv(tmp_path / "rows.csv", rows)
    assert (tmp_path / "rows.csv").read_text() == text
