"""The notebook in examples/: what is committed was executed, and its cells still run."""

import contextlib
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from small_runs import SMALL

import rolekd
from rolekd.errors import InputError

NOTEBOOK = Path(__file__).parents[1] / "examples/digits.ipynb"
NO_EXTRA = "the extra rolekd[notebook] is not installed"


def cells() -> list[dict[str, Any]]:
    return [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]


def test_what_is_committed_was_executed_once_from_top_to_bottom() -> None:
    assert [cell["execution_count"] for cell in cells()] == list(range(1, len(cells()) + 1))
    shown = [json.dumps(cell["outputs"]) for cell in cells()]
    for text in (
        "<table>",
        "image/png",
        "The student gets",
        "1498 of 1498 test images",
        "probability",
    ):
        assert any(text.replace('"', '\\"') in one for one in shown), text
    faults = [out for c in cells() for out in c["outputs"] if out["output_type"] == "error"]
    assert [fault["traceback"] for fault in faults] == [[f"error: {faults[0]['evalue']}"]]
    assert not any(out.get("name") == "stderr" for cell in cells() for out in cell["outputs"])


def test_its_cells_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, with parameters that take seconds."""
    monkeypatch.setattr(mpl, "get_backend", lambda: "agg")
    mpl.use("agg")
    small = {**SMALL, "machine.workers": 1, "machine.device": "cpu"}
    names: dict[str, Any] = {}
    for cell in cells():
        fails = "raises-exception" in cell["metadata"].get("tags", [])
        expected = pytest.raises(InputError) if fails else contextlib.nullcontext()
        with expected:
            exec("".join(cell["source"]), names)
        if "parameters" in cell["metadata"].get("tags", []):
            names["params"] = rolekd.Params.preset("digits", small)
    assert names["student"].about["weight_bits"] == 2
    assert set(names["ways"]) == {"alone", "distilled", "distilled, its own schedule"}


@pytest.mark.slow
def test_a_kernel_runs_it_as_it_is() -> None:
    nbclient = pytest.importorskip("nbclient", reason=NO_EXTRA)
    nbformat = pytest.importorskip("nbformat", reason=NO_EXTRA)
    pytest.importorskip("ipykernel", reason=NO_EXTRA)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    done = nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
    committed, found = cells(), [c for c in done.cells if c.cell_type == "code"]
    for ours, theirs in zip(committed, found, strict=True):
        kinds = [[out["output_type"] for out in cell["outputs"]] for cell in (ours, theirs)]
        assert kinds[0] == kinds[1], ours["source"]
