import pytest

import rolekd  # noqa: F401  its switches must be set before a test imports onnxruntime

pytest_plugins = ["shared_fixtures"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits for whole pipelines: it takes minutes, and must not be the last."""
    items.sort(key=lambda item: "pipeline" not in item.path.parts)
