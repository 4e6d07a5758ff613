"""Sheets of sample images under each augmentation."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rolekd.augment import recipe as recipes
from rolekd.augment.engine import Engine
from rolekd.augment.recipe import Augmentation
from rolekd.report.style import legible, style


@style()
def policy_sheet(
    images: NDArray[np.uint8], policies: Mapping[str, Augmentation], engine: Engine, seed: int
) -> Figure:
    """Draw images as they are, and once more under each policy.

    Args:
        images: uint8 [N, H, W, C], one column each; about ten are readable.
        policies: title -> policy, hand-made augmentation, or None for the base augmentation. One
            with levels is shown from its weakest, at the first image, to its strongest.
        engine: with the fill colour and base augmentation of the run.
        seed: of the draws; the same for every policy, so that crops and flips agree.
    """
    rows = {"original": images}
    for title, policy in policies.items():
        last = recipes.of(policy, *images.shape[1:3]).levels - 1
        levels = np.linspace(0, last, len(images)).round().astype(np.int64)
        rows[title] = engine.apply(images, policy, seed, levels)
    figure = Figure(figsize=(1.6 + 0.9 * len(images), 0.95 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(images), squeeze=False)
    for row, (title, batch) in enumerate(rows.items()):
        for column, image in enumerate(batch):
            cell = axes[row, column]
            cell.imshow(
                image if image.shape[2] == 3 else image[:, :, 0],
                cmap="gray", vmin=0, vmax=255, interpolation="nearest",
            )  # fmt: skip
            cell.set_xticks([])
            cell.set_yticks([])
        name = legible(title)
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize="small")
    return figure
