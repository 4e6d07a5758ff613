"""Prepared images: the data set and its batches; `rolekd.sources` prepares it."""

__all__ = ["batches", "content", "dataset", "fits", "pixels"]
