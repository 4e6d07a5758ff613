"""A contract of import-linter's that is this project's own."""

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class PublicNames(Contract):
    """What a package's `__all__` names is public; the rest is imported within the package only.

    A name is that of a module, or of what `__init__` itself defines or imports. Only source is
    read: naming a module imports nothing.

    Options:
        root: the package whose packages are checked.
        most: names that one of them may have.
    """

    type_name = "public names"

    root = fields.StringField()
    most = fields.IntegerField()

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002
        packages = {
            module: self._stated(module)
            for module in sorted(graph.modules)
            if module.startswith(f"{self.root}.") and graph.find_children(module)
        }
        faults = [
            fault
            for package, names in packages.items()
            for fault in self._misstated(graph, package, names)
        ]
        for package, names in packages.items():
            faults += _trespasses(graph, package, names)
        return ContractCheck(kept=not faults, metadata={"faults": faults})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for fault in check.metadata["faults"]:
            output.print_error(f"- {fault}", bold=False)
        output.new_line()

    def _tree(self, package: str) -> ast.Module:
        # found by path: an import machinery that looks for a submodule runs what is above it
        base = Path(find_spec(self.root).origin).parent
        parts = package.split(".")[1:]
        return ast.parse(base.joinpath(*parts, "__init__.py").read_text(encoding="utf-8"))

    def _stated(self, package: str) -> list[str]:
        for node in self._tree(package).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                return ast.literal_eval(node.value)
        return []

    def _misstated(self, graph: ImportGraph, package: str, names: list[str]) -> Iterator[str]:
        if not names:
            yield f"{package}: states no public names; add __all__"
        if len(names) > self.most:
            yield f"{package}: states {len(names)} public names, {self.most} at most"
        modules = {child.rpartition(".")[2] for child in graph.find_children(package)}
        for name in sorted(set(names) - modules - set(_bound(self._tree(package)))):
            yield f"{package}: {name} in __all__ is neither a module nor bound; remove it"


def _trespasses(graph: ImportGraph, package: str, names: list[str]) -> Iterator[str]:
    """Yield a line for each module that others import and that is not public."""
    inside = {package, *graph.find_descendants(package)}
    for module in sorted(inside - {package}):
        outside = graph.find_modules_that_directly_import(module) - inside
        if outside and module.removeprefix(f"{package}.").partition(".")[0] not in names:
            importers = ", ".join(sorted(outside))
            yield f"{module} is not public in {package}, but imported by {importers}"


def _bound(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a module's top level binds."""
    for node in tree.body:
        match node:
            case ast.Import() | ast.ImportFrom():
                yield from (alias.asname or alias.name for alias in node.names)
            case ast.FunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Assign():
                yield from map(ast.unparse, node.targets)
            case ast.AnnAssign():
                yield ast.unparse(node.target)
