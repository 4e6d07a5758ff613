from pathlib import Path

import pytest
from projects import Project, copied, make_project
from shared import once


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, fresh_store: Path) -> Project:
    """A project in which `dvc repro` has run once; tests must leave it as they find it."""

    def make(folder: Path) -> None:
        (folder / "project").mkdir()
        made = make_project(folder / "project", fresh_store)
        made.run(*made.traced("dvc", "repro"))

    whole = once(tmp_path_factory, "whole", make)
    return copied(Project(whole / "project"), tmp_path_factory.mktemp("copy"))


@pytest.fixture
def fresh(tmp_path: Path, fresh_store: Path) -> Project:
    """A project in which nothing has run."""
    return make_project(tmp_path, fresh_store)


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory, fresh_store: Path) -> Project:
    """A project in which nothing has run; tests must leave it as they find it."""
    folder = tmp_path_factory.mktemp("bare") / "project"
    folder.mkdir()
    return make_project(folder, fresh_store)
