"""The colours of arms and teachers."""

from typing import get_args

import pytest

from rolekd.params import Params, TeacherName
from rolekd.report import style

COMPARE = Params().compare


def contrast(one: str, other: str) -> float:
    """Return the ratio of luminances, 1 to 21, as WCAG 2.2 defines it."""

    def luminance(colour: str) -> float:
        shares = [value / 255 for value in bytes.fromhex(colour[1:])]
        red, green, blue = (
            share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
            for share in shares
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_arm_and_teacher_has_a_colour_of_its_own() -> None:
    more = {
        f"own-{name}": COMPARE.arms["kd"].model_copy(update={"teacher": name})
        for name in get_args(TeacherName)
        if name != "searched"
    }
    compare = COMPARE.model_copy(update={"arms": {**COMPARE.arms, **more}})
    found = style.colours(compare)
    assert [*found] == [
        "teacher",
        "plain teacher",
        "RandAugment teacher",
        "adaptive teacher",
        *compare.arms,
    ]
    assert len({*found.values()}) == len(found)
    assert found[compare.baseline] == style.ACCENT
    assert found["plain"] == style.FAINT  # what the others are measured by


@pytest.mark.parametrize(
    ("page", "ink"), [("#fcfcfb", style.INK), (style.DARK_PAGE, style.DARK_INK)]
)
def test_all_colours_are_seen_on_a_light_and_on_a_dark_page(page: str, ink: str) -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast(ink, page) > 7
    # for lines and dots; more of it on both pages would make all of them equally bright, which
    # is what colour-blind people tell them apart by
    for colour in (
        *style.PALETTE,
        *style.TEACHER_COLOURS.values(),
        *style.colours(COMPARE).values(),
    ):
        assert contrast(colour, page) > 2.1, colour
