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
