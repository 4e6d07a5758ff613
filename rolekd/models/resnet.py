"""Residual networks (He et al. 2016) with a 3x3 stem, which shrinks large images only.

Four stages of `width`, 2, 4 and 8 times `width` channels with strides 1, 2, 2, 2: 32x32 images
end at 4x4, 8x8 images at 1x1. From 48 pixels on the stem has stride 2, from 96 on a pooling behind
it, too: 224x224 images end at 7x7.
"""

from collections import OrderedDict

from torch import Tensor, nn

from rolekd.models import stems


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut: a projection where the shape changes.

    `relu2` gives the block's output, [N, outputs, H / stride, W / stride].
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outputs))
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        branch = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(branch + self.shortcut(x))  # type: ignore[no-any-return]


def resnet(
    *, blocks: int, classes: int, channels: int, image_size: tuple[int, int], width: int
) -> nn.Sequential:
    """Return a residual network with `blocks` blocks in each of its four stages."""
    left_out = stems.left_out(image_size)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(channels, width, 3, 1 if left_out == 2 else 2, padding=1, bias=False),
        bn1=nn.BatchNorm2d(width),
        relu=nn.ReLU(inplace=True),
    )
    if left_out == 0:
        layers["maxpool"] = nn.MaxPool2d(3, 2, padding=1)
    inputs = width
    for stage, stride in enumerate((1, 2, 2, 2)):
        outputs = width << stage
        layers[f"stage{stage + 1}"] = nn.Sequential(
            Block(inputs, outputs, stride),
            *(Block(outputs, outputs, 1) for _ in range(blocks - 1)),
        )
        inputs = outputs
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)
