"""The pages that `rolekd ui` names."""

import json
import urllib.parse

from rolekd.cli import ui

SERVER = "http://127.0.0.1:5000"


def _run(number, parent):
    tags = [{"key": "mlflow.parentRunId", "value": parent}]
    return {"info": {"run_id": number}, "data": {"tags": tags}}


def test_the_arms_of_the_last_run_come_first(monkeypatch):
    kept = []

    def ask(address, content=None):
        if content is None:
            assert address.endswith("get-by-name?experiment_name=rolekd-my%20photos")
            return {"experiment": {"experiment_id": "7"}}
        if address.endswith("set-experiment-tag"):
            kept.append(content)
            return {}
        assert content["experiment_ids"] == ["7"]
        return {"runs": [_run("a", "new"), _run("b", "new"), _run("c", "old")]}

    monkeypatch.setattr(ui, "_ask", ask)
    pages = list(ui._pages(SERVER, "rolekd-my photos").values())
    place, _, query = pages[0].partition("?")
    assert place == f"{SERVER}/#/compare-runs"
    assert json.loads(urllib.parse.parse_qs(query)["runs"][0]) == ["a", "b"]
    assert all(page.startswith(f"{SERVER}/#/experiments/7/runs?") for page in pages[1:])
    assert all("workflowType=machine_learning" in page for page in pages)
    (view,) = kept
    assert view["experiment_id"] == "7"
    name = view["key"].removeprefix("mlflow.sharedViewState.")
    assert f"viewStateShareKey={name}&" in pages[1]
    shown = json.loads(view["value"])
    assert shown["searchFilter"] == "tags.split = 'test'"
    assert {"metrics.`test_accuracy`", "params.`arm`", "params.`student.bits`"} < {
        *shown["selectedColumns"]
    }


def test_before_the_first_run_and_before_the_server_answers(monkeypatch):
    monkeypatch.setattr(ui, "_ask", lambda *_: None)
    assert ui._pages(SERVER, "rolekd-digits") == {"no run yet": SERVER}

    def refuse(*_):
        raise ConnectionRefusedError

    monkeypatch.setattr(ui, "_ask", refuse)
    assert ui._pages(SERVER, "rolekd-digits") is None
