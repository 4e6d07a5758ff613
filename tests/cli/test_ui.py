"""The pages that `rolekd ui` names."""

import contextlib
import json
import re
import urllib.error
import urllib.parse
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

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
    # the list of experiments: MLflow's front page is that of language models
    front = f"{SERVER}/#/experiments?workflowType=machine_learning"
    assert ui._pages(SERVER, "rolekd-digits") == {"no runs yet": front}

    def refuse(*_):
        raise ConnectionRefusedError

    monkeypatch.setattr(ui, "_ask", refuse)
    assert ui._pages(SERVER, "rolekd-digits") is None

    def fail(*_):
        raise urllib.error.HTTPError(SERVER, 500, "Internal Server Error", {}, None)

    monkeypatch.setattr(ui, "_ask", fail)
    assert ui._pages(SERVER, "rolekd-digits") == {
        "MLflow, which says HTTP Error 500: Internal Server Error": front
    }


@pytest.mark.parametrize("option", [["--open"], []])
def test_the_first_link_is_the_useful_page_and_the_one_that_is_opened(project, monkeypatch, option):
    opened, looks = [], []

    @contextlib.contextmanager
    def running(command, environment):
        yield SimpleNamespace(poll=lambda: None)

    def look(_):
        looks.append(1)
        if len(looks) == 4:  # Ctrl-C, after the pages were shown
            raise KeyboardInterrupt

    def ask(address, content=None):
        if len(looks) < 2:
            raise ConnectionRefusedError
        if content is None:
            return {"experiment": {"experiment_id": "7"}}
        return {"runs": [_run("a", "new"), _run("b", "new")]}

    monkeypatch.setattr(ui, "_running", running)
    monkeypatch.setattr(ui, "_ask", ask)
    monkeypatch.setattr(ui.time, "sleep", look)
    monkeypatch.setattr(ui.webbrowser, "open", opened.append)
    done = CliRunner().invoke(ui.ui, ["--mlflow-port", "5017", *option])
    assert done.exit_code == 0, done.output
    links = re.findall(r"http://\S+", done.output)
    assert len(links) == len(set(links)) == 3
    assert links[0].startswith("http://127.0.0.1:5017/#/compare-runs?")
    assert opened == (links[:1] if option else [])
    assert "searches: none yet" in done.output
