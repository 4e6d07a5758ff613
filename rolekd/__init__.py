"""Role-wise data augmentation for knowledge distillation of low-bit image classifiers."""

from rolekd import telemetry

__version__ = "0.1.0"

telemetry.switch_off()  # here, since it must stand before any library is imported
