"""Prepared images: the data set, its batches; the way to it is `rolekd.sources`."""

__all__ = ["batches", "content", "dataset", "fits", "pixels"]
