"""Links of all pages lead somewhere; the commands that they show exist, with these options."""

import itertools
import re
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
import yaml

from docs import pages
from rolekd.cli import root
from rolekd.params import Params

ROOT = Path(__file__).parents[2]
PAGES = {page.name: page for page in pages.all_pages()}
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
KEYS = Params().model_dump(mode="json")
SECTIONS = "|".join(key for key, value in KEYS.items() if isinstance(value, dict))
KEY = re.compile(rf"(?<![\w/.-])((?:{SECTIONS}|training)(?:\.[a-z_]+)+)(?![\w(/@.-])")
FILES = {"csv", "json", "md", "py", "sh", "svg", "yaml"}  # ends of names of files, not keys
PACKAGES = ("benchmarks", "docs", "pipelines", "results", "rolekd")

everywhere = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


@everywhere
def test_links_lead_somewhere(page):
    wrong = [link for link in page.links if not leads_somewhere(page, link)]
    assert wrong == []


def leads_somewhere(page, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return True  # elsewhere: nothing here asks a network
    path, _, anchor = unquote(link).partition("#")
    target = (page.path.parent / path).resolve() if path else page.path
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    name = str(target.relative_to(ROOT))
    return not anchor or name not in PAGES or anchor in PAGES[name].anchors


@everywhere
def test_commands_exist(page):
    faults = [fault for words in page.commands if (fault := fault_of(words))]
    # in a sentence a command may be named without its arguments
    faults += [fault for words in page.spans if (fault := fault_of(words, whole=False))]
    assert faults == []


def fault_of(words: list[str], whole: bool = True) -> str:
    """Return what is wrong with a command of ours, of make or of DVC; empty: nothing."""
    match words:
        case ["rolekd", *args]:
            return fault_of_rolekd(args, whole)
        case ["make", *args]:
            return fault_of_make(args)
        case ["python" | "python3", "-m", module, *_] if module.split(".")[0] in PACKAGES:
            path = ROOT / module.replace(".", "/")
            exists = path.with_suffix(".py").exists() or (path / "__main__.py").exists()
            return "" if exists else f"no module {module}"
        case ["python" | "python3" | "pytest", path, *_] if path.endswith(".py"):
            return "" if (ROOT / path).exists() or "/" not in path else f"no file {path}"
        case ["dvc", *args]:
            return fault_of_dvc(args)
    return ""


def fault_of_rolekd(args: list[str], whole: bool) -> str:
    command, context = root, click.Context(root, info_name="rolekd", **root.context_settings)
    args = [arg.strip("[]") for arg in args]  # what may be left out
    while True:
        try:
            given, rest, _ = command.make_parser(context).parse_args(list(args))
        except click.UsageError as error:
            return f"{context.command_path}: {error.format_message()}"
        for param in command.get_params(context):
            value = given.get(param.name)
            choices = param.type.choices if isinstance(param.type, click.Choice) else [value]
            known = [str(choice) for choice in choices]
            if isinstance(value, str) and value not in known and not value.isupper():
                return f"{context.command_path}: {param.name} {value}"
            if whole and param.required and not (isinstance(value, str | tuple) and value):
                return f"{context.command_path}: lacks {param.name}"
        if not isinstance(command, click.Group):
            return f"{context.command_path}: {rest} is too much" if rest else ""
        if not rest or rest[0].isupper():  # COMMAND, NAME
            return ""
        name, *args = rest
        if name not in command.list_commands(context):
            return f"{context.command_path}: no command {name}"
        command = command.get_command(context, name)
        context = click.Context(command, info_name=name, parent=context)


def fault_of_make(args: list[str]) -> str:
    for arg in args:
        name, equals, value = arg.partition("=")
        if equals and not re.search(rf"\$\([^)]*\b{name}\b|^{name} [?:]?=", MAKEFILE, re.MULTILINE):
            return f"make: no variable {name}"
        if not equals and not arg.startswith("-") and name not in TARGETS:
            return f"make: no target {name}"
        if name == "T" and value.startswith("tests") and not (ROOT / value.split()[0]).exists():
            return f"make: no tests {value}"
    return ""


def fault_of_dvc(args: list[str]) -> str:
    if args[:1] == ["repro"]:
        for target in (arg for arg in args[1:] if arg.islower() and not arg.startswith("-")):
            if target.partition("@")[0] not in STAGES:
                return f"dvc repro: no stage {target}"
    for before, change in itertools.pairwise(args):
        if before == "-S":
            key, found = change.partition("=")[0], KEYS
            for part in key.removeprefix("+").split(".")[: -1 if key.startswith("+") else None]:
                if not isinstance(found, dict) or part not in found:
                    return f"dvc: params.yaml has no {key}"
                found = found[part]
    return ""


@everywhere
def test_keys_of_params_exist(page):
    text = page.prose
    if page.name == "CHANGELOG.md":  # its last table is of keys that were
        text = text.split("### To change in an older params.yaml")[0]
    named = {key for span in pages.spans_of(text) for key in keys_in(span)}
    assert {key for key in named if not is_key(key)} == set()


def keys_in(span: str) -> set[str]:
    """Return what looks like a dotted key of params.yaml, but for those of a file's error."""
    if re.match(r"\w+\.yaml: ", span):
        return set()
    return {key for key in KEY.findall(span) if key.rpartition(".")[2] not in FILES}


def is_key(name: str) -> bool:
    """Return whether params.yaml has it; `training` is of either role, NAME any name."""
    found = KEYS["student"] if name.startswith("training.") else KEYS
    for part in name.split("."):
        if not isinstance(found, dict) or (part not in found and part != "NAME"):
            return False
        found = found[part] if part in found else next(iter(found.values()))
    return True


def test_keys_that_do_not_exist_are_found():
    assert keys_in("dvc exp run -S student.bit=4 -S search.confirm.rungs=[]") == {
        "student.bit",
        "search.confirm.rungs",
    }
    assert keys_in("docs/search.md, search.md and outputs/export.onnx") == set()
    assert keys_in("params.yaml: student.bit: unknown key; did you mean bits?") == set()
    assert is_key("training.epochs") and is_key("search.confirm.rungs")
    assert is_key("compare.arms.NAME.teacher")
    assert not is_key("student.bit") and not is_key("training.epoch")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("rolekd promot", "rolekd: no command promot"),
        ("rolekd promote --dryrun", "rolekd promote: No such option"),
        ("rolekd search --role pupil", "rolekd search: role pupil"),
        ("rolekd schedule show", "rolekd schedule show: lacks file"),
        ("rolekd summary now", r"rolekd summary: \['now'\] is too much"),
        ("make tests", "make: no target tests"),
        ("make test D=1", "make: no variable D"),
        ("make test T=tests/nothing", "make: no tests tests/nothing"),
        ("pytest tests/nothing.py", "no file tests/nothing.py"),
        ("python -m results.nothing", "no module results.nothing"),
        ("dvc repro train", "dvc repro: no stage train"),
        ("dvc exp run -S student.bit=4", "dvc: params.yaml has no student.bit"),
    ],
)
def test_what_is_wrong_is_found(line, fault):
    assert re.match(fault, fault_of(line.split()))


def test_blocks_links_and_anchors_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(
        '# One `and` two: it\'s\n\n[a](b.md#c) `[no](x.md)` <img src="d.png">\n\n'
        "```sh\n$ rolekd a > out; A=1 make b | cat  # c\n[no](y.md)\n```\n\n"
        "```python\nrolekd = 1\n```\n\n    rolekd c \\\n      d\n\nsaid by `rolekd e\n-f`, "
        "[b](e.md) and `f`\n\n"
        "## One `and` two: it's\n"
    )
    page = pages.Page("page.md")
    assert page.links == ["b.md#c", "e.md", "d.png"]
    assert page.anchors == {"one-and-two-its", "one-and-two-its-1"}
    commands = [words for words in page.commands if words[0] in ("rolekd", "make")]
    assert commands == [["rolekd", "a"], ["make", "b"], ["rolekd", "c", "d"]]
    assert ["rolekd", "e", "-f"] in page.spans
