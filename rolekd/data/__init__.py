"""Images: sources, splits, batches."""

__all__ = [
    "batches",
    "dataset",
    "download",
    "fits",
    "images",
    "prepare",
    "quality",
    "sources",
]
