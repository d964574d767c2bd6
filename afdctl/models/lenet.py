"""LeNet (LeCun et al. 1998), a small network for small images."""

from torch import nn


def lenet(channels: int, image_size: int, width: int) -> tuple[nn.Module, int]:
    """Build two 5x5 convolutions of width and 2 width filters with pooling, and a dense layer of 8 width features."""
    side = image_size // 4
    encoder = nn.Sequential(
        nn.Conv2d(channels, width, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * side * side, 8 * width),
        nn.ReLU(),
    )
    return encoder, 8 * width
