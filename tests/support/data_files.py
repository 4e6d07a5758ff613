"""Raw data in every layout that a source reads, small and made from seeds."""

import gzip
import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
from PIL import Image

PER_CLASS = 12


def pixels(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def photo(path: Path, seed: int, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> None:
    """Write one image of width and height `size`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels(1, 6, 6, 3, seed=seed)[0]).resize(size, Image.Resampling.NEAREST)
    image.convert(mode).save(path)


def photos(root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = PER_CLASS) -> Path:
    """Write a folder of classes, in all formats."""
    suffixes = ("jpg", "png", "webp", "bmp", "JPEG")
    for number, name in enumerate(classes):
        for i in range(count):
            photo(
                root / name / f"{i}.{suffixes[i % 5]}", 1000 * number + i, (30 + i % 9, 50 - i % 9)
            )
    return root


def divided(root: Path, parts: tuple[str, ...] = ("train", "test")) -> Path:
    """Write a folder of splits with classes."""
    for number, part in enumerate(parts):
        for c, name in enumerate(("cat", "dog")):
            for i in range(PER_CLASS):
                photo(root / part / name / f"{i}.png", 10_000 * number + 1000 * c + i)
    return root


def table(root: Path, split: bool = True, parts: tuple[str, ...] = ("train", "test")) -> Path:
    """Write labels.csv with images beside it; every third is of the last of the parts, in turn."""
    lines = ["path,label,split" if split else "path,label"]
    for i in range(3 * PER_CLASS):
        photo(root / "images" / f"{i}.png", i)
        part = parts[1 + i // 6 % (len(parts) - 1)] if i % 3 == 2 else parts[0]
        lines.append(f"images/{i}.png,{'ab'[i // 3 % 2]}" + (f",{part}" if split else ""))
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def tiny_imagenet(root: Path) -> Path:
    """Write Tiny-ImageNet's layout: validation images by a table, test images without classes."""
    rows = []
    for c, name in enumerate(("n01443537", "n01629819")):
        for i in range(PER_CLASS):
            photo(root / "train" / name / "images" / f"{name}_{i}.JPEG", 1000 * c + i)
            photo(root / "val/images" / f"val_{2 * i + c}.JPEG", 5000 + 1000 * c + i)
            photo(root / "test/images" / f"test_{2 * i + c}.JPEG", 9000 + 1000 * c + i)
            rows.append(f"val_{2 * i + c}.JPEG\t{name}\t0\t32\t44\t62")
        (root / "train" / name / f"{name}_boxes.txt").write_text("a box for each image\n")
    (root / "val/val_annotations.txt").write_text("\n".join(rows) + "\n")
    (root / "words.txt").write_text("n01443537\tgoldfish\n")
    return root


def idx(root: Path, packed: bool = True, prefix: str = "", first: int = 0) -> Path:
    """Write the four files of MNIST and its like; labels are from `first` to `first` + 9."""
    root.mkdir(parents=True, exist_ok=True)
    for part, count, seed in ((f"{prefix}train", 120, 0), (f"{prefix}t10k", 30, 1)):
        images = pixels(count, 28, 28, seed=seed)
        labels = np.arange(count, dtype=np.uint8) % 10 + first
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            path = root / f"{part}-{name}-ubyte{'.gz' if packed else ''}"
            content = header + values.tobytes()
            path.write_bytes(gzip.compress(content) if packed else content)
    return root


def contents(root: Path) -> dict[str, str]:
    """Return, of the idx files in a folder, part and kind -> SHA-256 of the unpacked content."""
    found = {}
    for path in root.rglob("*ubyte*"):
        content = path.read_bytes()
        plain = gzip.decompress(content) if path.suffix == ".gz" else content
        found["-".join(path.name.split("-")[:2])] = hashlib.sha256(plain).hexdigest()
    return found


def cifar(root: Path, name: str, pickled: bool) -> Path:
    """Write either official layout of CIFAR-10 or CIFAR-100, with few images."""
    ten = name == "cifar10"
    classes = [f"class_{i}" for i in range(10 if ten else 100)]
    training = [f"data_batch_{i}" for i in range(1, 6)] if ten else ["train"]
    test = "test_batch" if ten and not pickled else ("test_batch" if ten else "test")
    folder = {
        ("cifar10", False): "cifar-10-batches-bin",
        ("cifar10", True): "cifar-10-batches-py",
        ("cifar100", False): "cifar-100-binary",
        ("cifar100", True): "cifar-100-python",
    }[name, pickled]
    (root / folder).mkdir(parents=True, exist_ok=True)
    for number, part in enumerate([*training, test]):
        count = len(classes) * (6 if ten else 10)
        planes = pixels(count, 3072, seed=number)
        labels = np.arange(count, dtype=np.uint8) % len(classes)
        path = root / folder / part
        if pickled:
            key = "labels" if ten else "fine_labels"
            path.write_bytes(pickle.dumps({"data": planes, key: labels.tolist()}, protocol=2))
        else:
            bytes_of = [labels] if ten else [labels // 5, labels]
            path.with_suffix(".bin").write_bytes(np.column_stack([*bytes_of, planes]).tobytes())
    if pickled:
        meta = {"label_names" if ten else "fine_label_names": classes}
        (root / folder / ("batches.meta" if ten else "meta")).write_bytes(pickle.dumps(meta, 2))
    else:
        names = "batches.meta.txt" if ten else "fine_label_names.txt"
        (root / folder / names).write_text("\n".join(classes) + "\n\n")
    return root
