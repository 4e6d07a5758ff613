"""The checks of `rolekd doctor`: the installation, the stores, the project's files."""

__all__ = [
    "finding",
    "installation",
    "project",
    "stores",
]
