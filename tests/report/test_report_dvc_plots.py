"""The templates and the page that `dvc plots` draws with, as DVC itself fills them."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dvc_render.html import render_html
from dvc_render.vega import VegaRenderer

FOLDER = Path(__file__).parents[2] / ".dvc" / "plots"
PAGE = FOLDER / "page.html"

EVIL = ("<!--<script>", "$^$", "</script><script>stolen()</script>", "a_b*c|d")
ROWS: dict[str, tuple[str, str, list[dict[str, Any]]]] = {
    "arms": ("accuracy", "arm", [{"arm": "kd", "seed": "0", "accuracy": "0.5"}]),
    "population": (
        "generation",
        "accuracy",
        [
            {"generation": str(g), "accuracy": "0.5", "in_lineage": str(m == 0)}
            for g in range(2)
            for m in range(2)
        ],
    ),
    "curves": (
        "epoch",
        "cross_entropy",
        [
            {"epoch": str(e), "cross_entropy": "1", "filename": f"outputs/distill/{a}/epochs.csv"}
            for a in ("kd", "plain")
            for e in range(3)
        ],
    ),
    "counts": (
        "predicted",
        "actual",
        [{"arm": "kd", "actual": a, "predicted": p, "count": "3"} for a in EVIL for p in EVIL],
    ),
    "reliability": (
        "confidence",
        "accuracy",
        [{"arm": "kd", "confidence": "0.5", "accuracy": "0.25"}],
    ),
}


def renderer(name: str) -> VegaRenderer:
    x, y, rows = ROWS[name]
    points = [{**row, "rev": "workspace"} for row in rows]
    return VegaRenderer(
        points, name, template=name, template_dir=str(FOLDER), x=x, y=y, title=f"title of {name}"
    )


def test_every_template_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(ROWS)


@pytest.mark.parametrize("name", list(ROWS))
def test_template_is_filled_without_a_rest(name: str) -> None:
    text = json.dumps(renderer(name).get_filled_template())
    assert "DVC_METRIC" not in text
    assert f"title of {name}" in text


def test_page_fetches_nothing() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("{plot_divs}") == 1
    assert "{scripts}" not in text
    around = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"<script|<link|src=|href=|url\(|@import", around)
    for name, version in re.findall(
        r"([\w-]+) (\d+\.\d+\.\d+)", (FOLDER / "README.md").read_text()
    ):
        assert f"/*! {name} {version}\n\nCopyright" in text
        assert f'"{version}"' in text  # as the script itself says


def test_what_dvc_writes_is_text_that_nothing_ends_and_every_figure_is_found(
    tmp_path: Path,
) -> None:
    page = tmp_path / "plots.html"
    render_html([renderer(name) for name in ROWS], page, PAGE)
    head, written = page.read_text().split("<plaintext hidden>")
    assert head.rstrip().endswith("<body>")
    assert not any(name in head for name in EVIL)
    pattern = re.search(r"^const FIGURE = /(.*)/g;$", head, re.MULTILINE)
    assert pattern is not None
    figures = re.findall(pattern[1], written)  # what it says is the same in Python
    titles = [json.loads(figure)["title"]["text"] for figure in figures]
    assert titles == [f"title of {name}" for name in ROWS]
    assert not re.sub(pattern[1], "", written).strip()


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium in the PATH")
def test_browser_without_a_network_draws_every_plot(tmp_path: Path) -> None:
    page = tmp_path / "plots.html"
    render_html([renderer(name) for name in ROWS], page, PAGE)
    done = subprocess.run(
        [
            "chromium",
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--virtual-time-budget=20000", "--host-resolver-rules=MAP * ~NOTFOUND"),
            f"--user-data-dir={tmp_path / 'profile'}",
            *("--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert len(re.findall(r"<canvas|<svg[^>]*class=\"marks\"", done.stdout)) == len(ROWS)
    assert "<plaintext" not in done.stdout
