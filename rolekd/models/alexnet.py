"""AlexNet (Krizhevsky et al. 2012) fitted to 32x32 images, with BatchNorm and one classifier.

Low-bit activations need BatchNorm before the quantiser, so every convolution has one; the three
fully connected layers become one, since the last feature map is 2x2 at most.
"""

from collections import OrderedDict

from torch import nn

# kernel, stride, channels in units of width, pooling after it
_LAYERS = ((5, 2, 1, True), (5, 1, 3, True), (3, 1, 6, False), (3, 1, 4, False), (3, 1, 4, True))


def alexnet(
    *, classes: int, channels: int, image_size: tuple[int, int], width: int
) -> nn.Sequential:
    """Return the network; `width` is 64 in the original proportions."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs, height, breadth = channels, *image_size
    for index, (kernel, stride, units, pooled) in enumerate(_LAYERS, start=1):
        outputs = units * width
        layers[f"conv{index}"] = nn.Conv2d(
            inputs, outputs, kernel, stride, padding=kernel // 2, bias=False
        )
        layers[f"bn{index}"] = nn.BatchNorm2d(outputs)
        layers[f"relu{index}"] = nn.ReLU(inplace=True)
        shrink = stride
        if pooled:  # rounding up keeps a 1x1 map alive, so that 8x8 images pass as well
            layers[f"pool{index}"] = nn.MaxPool2d(2, ceil_mode=True)
            shrink *= 2
        height, breadth, inputs = -(-height // shrink), -(-breadth // shrink), outputs
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = nn.Linear(inputs * height * breadth, classes)
    return nn.Sequential(layers)
