"""What the stage takes out of its page for MLflow."""

import xml.etree.ElementTree as ElementTree

from matplotlib.figure import Figure

from rolekd.report import style
from rolekd.stages.report import pictures


def test_each_figure_of_the_page_is_a_picture_of_its_own():
    figure = Figure()
    figure.add_subplot().plot([0, 1])
    titles = ["Test accuracy of each arm & seed", "Confusion"]
    page = "<p>a</p>".join(style.inline_svg(figure, title) for title in titles)
    found = pictures(f"<html>{page}</html>")
    assert list(found) == ["test-accuracy-of-each-arm-seed", "confusion"]
    for text in found.values():
        assert ElementTree.fromstring(text).tag.endswith("svg")
