"""YAML from anybody: read as DVC reads it, refused in one line, never at any length."""

from pathlib import Path

import pytest
from dvc.utils.serialize import parse_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekd import params, yamlfiles
from rolekd.errors import InputError

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "params.yaml", ROOT / "dvc.yaml", *(ROOT / "rolekd/presets").glob("*.yaml")]
_ALIASES = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefghijk", "bcdefghijkl", strict=True)
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_our_files_say_to_us_what_they_say_to_dvc(path):
    assert yamlfiles.load(path) == parse_yaml(path.read_text(), path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("0o10", 8),
        ("1e-3", 0.001),
        ("yes", "yes"),
        ("12:30:10", "12:30:10"),
        ("true", True),
        ("null", None),
        ("", None),
    ],
)
def test_scalars_are_those_of_version_1_2(text, value):
    found = yamlfiles.parse(f"key: {text}", "p")["key"]
    assert (found, type(found)) == (value, type(value))
    assert parse_yaml(f"key: {text}", "p")["key"] == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("search: [1, 2", "expected ',' or ']'"),
        ("seed: !!int abc", "line 1: not a valid int: invalid literal"),
        ("a: 1\nseed: 2001-99-99", "line 2: not a valid timestamp: month must be in 1..12"),
        ("seed: !!bool x", "not a valid bool"),
        ("seed: !!float ''", "not a valid float"),
        ("seed: " + "9" * 5000, "not a valid int"),
        ("seed: !!python/object:os.system x", "could not determine a constructor"),
        ("seed: " + "[" * 500 + "]" * 500, "more than 32 levels"),
        ("- " * 500, "more than 32 levels"),
        (_ALIASES, "line 6: its aliases stand for too much"),
        ("seed: &a [*a]", "alias a is inside its own value"),
        ("seed: *a", "found undefined alias 'a'"),
        ("a: 1\n---\nb: 2", "another document"),
        ("seed: \x00", "unacceptable character"),
        ("'" + "x" * 1000 + "' '" + "y" * 1000 + "'", "expected"),
    ],
)
def test_what_is_not_valid_is_one_line_with_the_files_name(tmp_path, text, reason):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        params.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: not valid YAML (")
    assert reason in message
    assert message.endswith("; mend the syntax")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 200


def test_a_key_given_twice_is_named_and_its_values_are_not():
    text = "track:\n  uri: postgresql://me:secret@a/b\n  uri: postgresql://me:secret@c/d\n"
    with pytest.raises(InputError, match=r"^p: line 3: uri is given twice; remove") as caught:
        yamlfiles.parse(text, "p")
    assert "secret" not in str(caught.value)


def test_anchors_and_merges_of_a_sane_size_are_read():
    text = "base: &b {width: 4}\nteacher: {<<: *b, name: x}\nlist: [*b, *b]"
    assert yamlfiles.parse(text, "p") == {
        "base": {"width": 4},
        "teacher": {"width": 4, "name": "x"},
        "list": [{"width": 4}] * 2,
    }


def test_what_cannot_be_read_is_one_line_with_a_remedy(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"seed: \xe4")
    (tmp_path / "large.yaml").write_text("#" * (yamlfiles.MOST_BYTES + 1))
    for name, reason in {
        "absent.yaml": "cannot be read .No such file",
        "latin.yaml": "not valid YAML .*utf-8",
        "large.yaml": "cannot be read .has 131,073 bytes, more than 131,072",
        ".": "cannot be read .Is a directory",
    }.items():
        with pytest.raises(InputError, match=rf"{reason}.*; \w+"):
            yamlfiles.load(tmp_path / name)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "010", "yes", "1e3", "null", "~"]), _values))
def test_what_is_written_is_read_back(value):
    assert yamlfiles.parse(yamlfiles.dump(value), "p") == value


_TOKENS = [
    "!!int x", "!!float _", "!!set {a}", "!!omap [a: 1]", "!!binary x", "!!int ''", "2001-02-30",
    "[", "]", "{", "}", "&a", "*a", "<<: *a", "? ", "- ", ": ", "|", ">", "'", '"', "%", "---",
    "...", "!", "@", "\t", "\0", "\n", "  ", "é", ".inf", ".nan", "1e999", "0x", "{1: 2}",
    "{{a: 1}: 2}", "{[1]: 2}", "!!merge x", "=", "12:61", "0b", "%YAML 1.1\n---\n", "9" * 5000,
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_text_is_parameters_or_one_line(tmp_path_factory, data):
    lines = (ROOT / "params.yaml").read_text().splitlines()[:40]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(lines) - 1))
        key = data.draw(st.sampled_from([lines[place].partition(":")[0] + ": ", "", lines[place]]))
        lines[place] = key + data.draw(st.sampled_from(_TOKENS) | st.text(max_size=5))
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes("\n".join(lines).encode(errors="surrogatepass"))
    try:
        params.load(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)
        assert len(str(error)) < 3000


@pytest.mark.parametrize("text", ["[" * 100_000, "? " * 50_000, "{a: 1, " * 18_000])
def test_what_is_deep_is_refused_before_it_is_read_to_its_end(text):
    with pytest.raises(InputError, match="more than 32 levels"):
        yamlfiles.parse(text, "p")
