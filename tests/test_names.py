"""A public name means one thing: two packages share a name only where it is the same verb."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1] / "rolekd"
# what they do is plain from their module: schedule.load, dataset.load; a command and the facade
# have the name of the function they call
VERBS = {
    "build", "check", "decode", "describe", "export", "find", "load", "of", "parse", "plan",
    "predict", "prepare", "read", "read_task", "register", "resolve", "run", "save", "sentence",
    "take", "train_teacher",
}  # fmt: skip


def test_public_names_of_two_packages_are_verbs():
    owners = defaultdict(set)
    for path in ROOT.rglob("*.py"):
        package = path.relative_to(ROOT).parts[0]
        if package == "cli":  # commands
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                owners[node.name].add(package)
    shared = {name for name, packages in owners.items() if len(packages) > 1}
    assert shared - VERBS == {"names"}  # of networks and of plug-ins, which are entry points alike
    assert shared >= VERBS, "no longer shared: take it off the list"
