"""Images: sources, splits, batches."""

__all__ = [
    "batches",
    "dataset",
    "download",
    "images",
    "prepare",
    "quality",
    "sources",
]
