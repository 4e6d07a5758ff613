"""What `rolekd doctor` looks at: the installation, the stores, the project's files."""

__all__ = [
    "finding",
    "installation",
    "project",
    "stores",
]
