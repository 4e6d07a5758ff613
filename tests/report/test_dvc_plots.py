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

from rolekd.report import style

FOLDER = Path(__file__).parents[2] / ".dvc" / "plots"
PAGE = FOLDER / "page.html"

EVIL = ("<!--<script>", "$^$", "</script><script>stolen()</script>", "a_b*c|d")
# names in another order than their letters, colours that nothing else has
SHADES = {"teacher": "#010203", "plain": "#040506", "kd": "#070809"}
ROWS: dict[str, tuple[str, str, list[dict[str, Any]]]] = {
    "arms": (
        "accuracy",
        "arm",
        [
            {"arm": arm, "seed": str(seed), "accuracy": f"0.{seed}", "colour": colour}
            for arm, colour in SHADES.items()
            for seed in range(3)
        ],
    ),
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
            {"arm": arm, "epoch": str(epoch), "cross_entropy": "1", "colour": colour}
            for arm, colour in SHADES.items()
            for epoch in range(3)
        ],
    ),
    "counts": (
        "predicted",
        "actual",
        [
            {"arm": arm, "actual": a, "predicted": p, "count": str(3 * (a == p))}
            for arm in SHADES
            for a in EVIL
            for p in EVIL
        ],
    ),
    "reliability": (
        "confidence",
        "accuracy",
        [
            {"arm": arm, "confidence": f"0.{i}", "accuracy": "0.25", "colour": colour}
            for arm, colour in SHADES.items()
            for i in range(3)
        ],
    ),
}


def renderer(name: str, revisions: tuple[str, ...] = ("workspace",)) -> VegaRenderer:
    x, y, rows = ROWS[name]
    points = [{**row, "rev": revision} for revision in revisions for row in rows]
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


def test_the_page_has_the_colours_of_the_report() -> None:
    text = PAGE.read_text(encoding="utf-8").rpartition("<script>")[2]
    (palette,) = re.findall(r"category: (\[.*?\])", text, re.DOTALL)
    assert tuple(json.loads(palette)) == style.PALETTE
    others = {style.INK, style.DARK_INK, style.DARK_PAGE, style.FAINT, style.ACCENT}
    light_page = "#fcfcfb"
    assert set(re.findall(r"#[0-9a-f]{6}", text)) == {*style.PALETTE, *others, light_page}


needs_chromium = pytest.mark.skipif(
    not shutil.which("chromium"), reason="needs chromium in the PATH"
)


def drawn(
    folder: Path,
    *,
    template: Path = PAGE,
    dark: bool = False,
    revisions: tuple[str, ...] = ("workspace",),
) -> str:
    """Return the page of all plots as a browser without a network has made it."""
    page = folder / "plots.html"
    render_html([renderer(name, revisions) for name in ROWS], page, template)
    done = subprocess.run(
        [
            "chromium",
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--virtual-time-budget=20000", "--host-resolver-rules=MAP * ~NOTFOUND"),
            *(["--blink-settings=preferredColorScheme=0"] if dark else []),
            f"--user-data-dir={folder / 'profile'}",
            *("--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "<plaintext" not in done.stdout
    return done.stdout


@needs_chromium
def test_browser_without_a_network_draws_every_plot(tmp_path: Path) -> None:
    assert len(re.findall("<canvas", drawn(tmp_path))) == len(ROWS)


def shapes(folder: Path, **how: Any) -> dict[str, str]:
    """Return name -> its figure, as shapes and texts that can be read, in place of pixels."""
    template = folder / "page.html"
    page = PAGE.read_text(encoding="utf-8")
    template.write_text(page.replace("const options = {", 'const options = { renderer: "svg",'))
    written = drawn(folder, template=template, **how)
    figures = re.findall(r'<svg[^>]*class="marks".*?</svg>', written, re.DOTALL)
    return dict(zip(ROWS, figures, strict=True))


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_arms_have_the_colours_of_their_rows_and_text_that_of_the_page(
    tmp_path: Path, dark: bool
) -> None:
    figures = shapes(tmp_path, dark=dark)
    ink, paper = (style.DARK_INK, style.DARK_PAGE) if dark else (style.INK, "#fcfcfb")
    for name, figure in figures.items():
        assert set(re.findall(r'<text[^>]*fill="([^"]*)"', figure)) == {ink}, name
        shaded = name in ("arms", "curves", "reliability")
        assert [one in figure for one in SHADES.values()] == [shaded] * len(SHADES), name
        # each legend lists the arms in the order of the file
        named = [one for one in re.findall(r"<text[^>]*>([^<]*)", figure) if one in SHADES]
        assert named == ([] if name == "population" else list(SHADES)), name
    red, green, blue = bytes.fromhex(paper[1:])  # where there is nothing to count
    assert f"rgb({red}, {green}, {blue})" in figures["counts"]


@needs_chromium
def test_two_revisions_are_distinguished(tmp_path: Path) -> None:
    figures = shapes(tmp_path, revisions=("HEAD", "two"))
    for name in ("arms", "curves", "reliability", "population"):
        texts = re.findall(r"<text[^>]*>([^<]*)", figures[name])
        assert [text for text in texts if text in ("HEAD", "two")] == ["HEAD", "two"], name
    panels = re.findall(r"<text[^>]*>([^<]*, (?:HEAD|two))", figures["counts"])
    assert panels == [f"{arm}, {revision}" for revision in ("HEAD", "two") for arm in SHADES]
    for name in ("curves", "reliability"):  # lines, and in the legend
        assert len(re.findall(r'stroke-dasharray="[1-9]', figures[name])) > len(SHADES), name
