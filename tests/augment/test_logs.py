"""Import of search logs: the rule, the dialects, and damaged files."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekd.augment.logs import MAX_LINE, import_log
from rolekd.augment.policy import LENGTH, Policy
from rolekd.errors import InputError

ZEROS = [0] * LENGTH
RELEASED = Path(__file__).parents[3] / "shared/data/role-kd-schedules"


def policy(value: int) -> list[int]:
    return [value] * LENGTH


def line(target, clone, clone_epoch, old, new, target_epoch=5) -> list:
    return [target, clone, target_epoch, clone_epoch, {"hp_policy": old}, {"hp_policy": new}]


# Two stale lines, then a lineage that a break with the starting policy opens.
LOG = [
    line("10", "2", 3, ZEROS, policy(1)),
    line("3", "10", 6, policy(1), policy(2)),
    line("8", "2", 9, ZEROS, policy(3)),
    line("3", "8", 12, policy(3), policy(4)),
    line("2", "3", 21, policy(4), policy(5)),
]


def write(folder: Path, lines: list, dialect=json.dumps) -> Path:
    path = folder / "log.txt"
    path.write_text("".join(dialect(entry) + "\n" for entry in lines))
    return path


@pytest.mark.parametrize("dialect", [json.dumps, repr, lambda entry: repr(tuple(entry)) + "  "])
def test_stale_lines_are_dropped_and_dialects_agree(tmp_path, dialect):
    schedule = import_log(write(tmp_path, LOG, dialect), 30)
    assert schedule.epochs == 30
    assert schedule.segments == (
        (0, Policy.zeros()),
        (9, Policy(policy(3))),
        (12, Policy(policy(4))),
        (21, Policy(policy(5))),
    )


def test_a_chain_without_stale_lines_may_start_from_any_policy(tmp_path):
    log = [line(1, 0, 4, policy(7), policy(8)), line(2, 1, 6, policy(8), policy(9))]
    schedule = import_log(write(tmp_path, log), 10)
    assert [(start, p.values[0]) for start, p in schedule.segments] == [(0, 7), (4, 8), (6, 9)]


def test_a_copy_at_epoch_0_replaces_the_first_policy(tmp_path):
    schedule = import_log(write(tmp_path, [line(1, 0, 0, ZEROS, policy(2))]), 5)
    assert schedule.segments == ((0, Policy(policy(2))),)


@pytest.mark.skipif(not RELEASED.exists(), reason="the released logs are not beside the project")
@pytest.mark.parametrize("number", [0, 3, 9, 13])
def test_released_logs_expand_as_published(number):
    expanded = json.loads((RELEASED / "expanded.json").read_text())[str(number)]
    schedule = import_log(RELEASED / f"pbt_policy_{number}.txt", 200)
    assert [[start, list(p)] for start, p in schedule.segments] == expanded


def changed(index: int, place: int, value: object) -> list:
    log = [list(entry) for entry in LOG]
    log[index][place] = value
    return log


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (LOG[:1] + LOG[3:], "line 2: the chain is broken: it copies member 8"),
        (LOG[:3] + LOG[4:], "line 4: the chain is broken: it copies member 3"),
        (changed(3, 4, {"hp_policy": policy(1)}), "line 4: .* is not the new one of line 3"),
        (changed(2, 5, {"hp_policy": policy(1)[:-1]}), "line 3: new config: .* 59 integers"),
        (changed(2, 4, {"hp_policy": [11, *policy(1)[1:]]}), "line 3: old config: .* is 11"),
        (changed(2, 4, {"hp_policy": [1.5, *policy(1)[1:]]}), "line 3: old config: .* is 1.5"),
        (changed(2, 4, {"policy": policy(1)}), "line 3: old config has no list hp_policy"),
        (changed(1, 3, -4), "line 2: clone epoch is -4"),
        (changed(1, 2, -4), "line 2: target epoch is -4"),
        (changed(1, 3, True), "line 2: clone epoch is True"),
        (changed(1, 3, "6"), "line 2: clone epoch is '6'"),
        (changed(0, 0, None), "line 1: target is None"),
        (changed(4, 3, 12), "line 5: clone epoch 12 is not after that of line 4"),
        (changed(4, 3, 30), "line 5: clone epoch 30 does not fit in 30 epochs"),
        ([*LOG, [1, 2, 3]], "line 6: is not a list of 6"),
        ([*LOG, {}], "line 6: is not a list of 6"),
    ],
)
def test_damage_is_one_line_with_its_number(tmp_path, log, said):
    with pytest.raises(InputError, match=said) as error:
        import_log(write(tmp_path, log, repr), 30)
    assert str(error.value).startswith(f"{tmp_path / 'log.txt'}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (json.dumps(LOG[0]).encode() + b"\n\n" + json.dumps(LOG[1]).encode(), "line 2: is empty"),
        (b"[1, 2", "line 1: is neither JSON"),
        (b"__import__('os').getcwd()", "line 1: is neither JSON"),
        (b"\xff\xfe\x00", "line 1: is neither JSON"),
        (b"[" * 90_000, "line 1: is neither JSON"),
        (b"-" * 90_000 + b"1", "line 1: is neither JSON"),
        (b" " * (MAX_LINE + 2), "is empty"),
        # Python reads such integers, and refuses to write them
        (b"[0x" + b"f" * 50_000 + b", 1, 1, 1, {}, {}]", "line 1: target is an integer of 200000"),
        (b"[1, 1, 0x" + b"f" * 50_000 + b", 1, {}, {}]", "line 1: target epoch is an integer of"),
        (b"['" + b"x" * 50_000 + b"', 1, 1, 1, {}, {}]", "line 1: target is 'xxx"),
        (b"[1, 1, 1, 10000, {}, {}]", "line 1: clone epoch is 10000; .* from 0 to 9999"),
        (b"[" + b"0" * MAX_LINE, "line 1: is longer"),
    ],
)
def test_noise(tmp_path, content, said):
    path = tmp_path / "noise"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        import_log(path, 30)


def test_100_mb_of_noise_are_not_read_to_the_end(tmp_path):
    path = tmp_path / "noise"
    with path.open("wb") as file:
        file.write(b"\x93\x1f[,\n" * 1000)
        file.truncate(100_000_000)
    with pytest.raises(InputError, match="line 1: "):
        import_log(path, 30)
    with path.open("wb") as file:
        file.truncate(100_000_000)  # one line of zero bytes
    with pytest.raises(InputError, match="line 1: is longer"):
        import_log(path, 30)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        import_log(tmp_path / "none", 30)
    with pytest.raises(InputError, match="cannot be read"):
        import_log(tmp_path, 30)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200))
def test_whatever_the_bytes_the_error_is_ours(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(content)
    with pytest.raises(InputError):
        import_log(path, 30)
