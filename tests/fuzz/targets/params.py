"""params.yaml: `rolekd.params.load`, against what YAML 1.2 says the file holds."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML

from fuzz import mutations
from fuzz.harness import Case, Special

FILE = "params.yaml"
ROOT = Path(__file__).parents[3]
_ALIASES = b"\n".join(
    [b"a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [b"a%d: &a%d [%s]" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 9)]
)
_MERGES = b"seed: &s 1\n<<: {a: *s}\n"
# issue 13, items 6, 9, 10, 11 and 13
_TEXTS = {
    "aliases": _ALIASES,
    "aliases of a key": b"data: {path: &a [1]}\nsearch: {population: [*a, *a]}",
    "merge": _MERGES,
    "itself": b"&a {seed: *a}",
    "an alias of nothing": b"seed: *a",
    "tiny test fraction": b"data: {test_fraction: 1e-9}",
    "tiny search fraction": b"data: {search_validation_fraction: 1.0e-9}",
    "an octal seed": b"seed: 010",
    "a key twice": b"seed: 1\nseed: 2",
    "a truth as number": b"threads: true",
    "a text as number": b"threads: '1'",
    "an int of abc": b"seed: !!int abc",
    "a date that is none": b"seed: 2001-99-99",
    "a date": b"data: {path: 2001-01-01}",
    "a binary": b"seed: !!binary x",
    "a set": b"seed: !!set {1, 2}",
    "an order": b"seed: !!omap [1]",
    "code": b"seed: !!python/object/apply:os.getcwd []",
    "nested": b"seed: " + b"[" * 500 + b"]" * 500,
    "nested deeply": b"seed: " + b"[" * 50_000,
    "nested maps": b"{a: " * 500,
    "a list": b"[1]",
    "a text": b"x",
    "a number": b"7",
    "two documents": b"seed: 1\n---\nseed: 2",
    "a key that is a list": b"? [1]\n: 2",
    "a key that is null": b"~: 2",
    "a key that is a number": b"1: 2",
    "controls": b"seed\x1b]0;x\x07: 1",
    "controls in quotes": b'"\\e]0;owned\\a": 1\n"a\\nb": 2',
    "a line break in a value": b'device: "cpu\\nerror: all is lost"',
    "a long key": b"x" * 100_000 + b": 1",
    "sexagesimal": b"seed: 1:30",
    "hexadecimal": b"seed: 0x10",
    "underscores": b"seed: 1_000",
    "yes": b"track: {system_metrics: yes}",
    "many threads": b"threads: 1000000000",
    "a wide network": b"teacher: {model: {width: 1000000000}}",
    "a large image": b"data: {image_size: 1000000000}",
    "a large padding": b"augment: {crop_padding: 1000000000}",
    "a hot temperature": b"distill: {temperature: 1.0e+300}",
    "a cold temperature": b"distill: {temperature: 1.0e-300}",
    "a huge integer": b"seed: " + b"9" * 5000,
    "a password": b"track: {uri: 'postgresql://me:hunter2secret@host:bad/x', x: 1}",
    "not UTF-8": b"\xff\xfe\x00",
    "a byte order mark": b"\xef\xbb\xbfseed: 1",
    "UTF-16": "seed: 1".encode("utf-16"),
    "a tab": b"data:\n\tseed: 1",
    "a directive": b"%YAML 1.1\n---\nseed: 010",
    "zeros": bytes(1000),
    "10 MB of comments": b"# x\n" * 2_500_000,
}
_TOKENS = (
    *("010", "0o10", "0x1F", "1_0", "1:30", "!!int abc", "!!float x", "!!binary x", "!!str 1"),
    *("2001-99-99", "2001-01-01", "yes", "off", "~", "*a", "&a 1", "!x 1", "1e3", "1.e+3", ".inf"),
    *(".nan", "+1", "-0", "1.0", "[1, 2", "{a: 1}", "<<", "'1'", "|\n x", ">-", "%", "@x", "`x`"),
    *("- 1", "? 1", "true", "True", "1e-9", "!!python/name:os.system", '"\\e[31m"', "9" * 400),
)


class Target:
    """The default params.yaml, damaged as a value, as lines and as bytes."""

    origin = FILE
    named: Mapping[str, Case] = {
        **{name: {FILE: text} for name, text in _TEXTS.items()},
        "a FIFO": {FILE: Special()},
        "endless": {FILE: Special("/dev/zero")},
        "a folder": {f"{FILE}/x": b""},
    }

    def __init__(self) -> None:
        self._text = (ROOT / FILE).read_text()
        self._value = yaml.safe_load(self._text)

    def case(self, chance: random.Random) -> Case:
        """Return the file, damaged."""
        kind = chance.random()
        if kind < 0.5:
            value = mutations.in_value(self._value, chance)
            text = yaml.safe_dump(value, allow_unicode=chance.random() < 0.5)
        elif kind < 0.85:
            text = "\n".join(_other_token(self._text.splitlines(), chance))
        else:
            return {FILE: mutations.in_bytes(self._text.encode(), chance)}
        return {FILE: text.encode(errors="surrogatepass")}

    def read(self, folder: Path) -> str:
        """Load it; what was accepted must be what the file says."""
        from rolekd import params

        found = params.load(folder / FILE).model_dump(mode="json")
        said = YAML(typ="safe", pure=True).load((folder / FILE).read_text("utf-8"))
        assert not (wrong := _different(said or {}, found, "")), wrong
        return repr(found)


def _other_token(lines: list[str], chance: random.Random) -> list[str]:
    """Return the lines with the value of one, or a whole one, exchanged."""
    index = chance.randrange(len(lines))
    key, colon, _ = lines[index].partition(":")
    token = chance.choice(_TOKENS)
    changed = [f"{key}{colon} {token}"]
    if chance.random() < 0.2:
        changed = [lines[index], chance.choice((lines[index], f"{key}{colon} {token}", token))]
    return [*lines[:index], *changed, *lines[index + 1 :]]


def _different(said: Any, found: Any, key: str) -> str:
    """Return where two values differ; what the file does not say may be anything."""
    if isinstance(said, dict) and isinstance(found, dict):
        for name, value in said.items():
            if name not in found:
                return f"{key}.{name} is ignored"
            if wrong := _different(value, found[name], f"{key}.{name}"):
                return wrong
        return ""
    if isinstance(said, list) and isinstance(found, list) and len(said) == len(found):
        pairs = enumerate(zip(said, found, strict=True))
        return next((w for i, (a, b) in pairs if (w := _different(a, b, f"{key}.{i}"))), "")
    numbers = (int, float)
    alike = type(said) is type(found) or (
        isinstance(said, numbers)
        and isinstance(found, numbers)
        and not isinstance(said, bool)
        and not isinstance(found, bool)
    )
    return "" if alike and said == found else f"{key}: {said!r:.60} became {found!r:.60}"
