"""Role-wise data augmentation for knowledge distillation of low-bit image classifiers."""

__version__ = "0.1.0"
