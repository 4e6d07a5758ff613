"""Networks that stand between a student and its teacher; they belong to the objective."""

from torch import Tensor, nn


def adapter(student: int, teacher: int) -> nn.Module:
    """Map a student's channels to a teacher's: 1x1 convolution and BatchNorm; nothing if equal."""
    return nn.Identity() if student == teacher else connector(student, teacher)


def connector(student: int, teacher: int) -> nn.Sequential:
    """1x1 convolution and BatchNorm: [B, student, H, W] to [B, teacher, H, W], of either sign."""
    return nn.Sequential(nn.Conv2d(student, teacher, 1, bias=False), nn.BatchNorm2d(teacher))


def translator(student: int, factors: int) -> nn.Sequential:
    """Three 3x3 convolutions: a student's map to as many factors as the paraphraser gives."""
    return nn.Sequential(
        *_convolution(student, student),
        *_convolution(student, factors),
        nn.Conv2d(factors, factors, 3, padding=1),
    )


class Paraphraser(nn.Module):
    """Rewrites a teacher's map [B, C, H, W] in factors [B, F, H, W], and back.

    Convolutions at both ends instead of the paper's transposed ones in the second half: with a
    stride of 1 they are the same.

    Source: Kim et al. 2018, section 3.1.
    """

    def __init__(self, channels: int, factors: int) -> None:
        super().__init__()
        self.factors = factors
        self.encoder = nn.Sequential(
            *_convolution(channels, channels),
            *_convolution(channels, factors),
            nn.Conv2d(factors, factors, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.LeakyReLU(0.1),
            *_convolution(factors, factors),
            *_convolution(factors, channels),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the factors of a map."""
        return self.encoder(x)  # type: ignore[no-any-return]

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the map that the factors of `x` give."""
        return self.decoder(self.encoder(x))  # type: ignore[no-any-return]


class AttentionHeads(nn.Module):
    """Predicts the vectors of a stage from those of the stage before, through a graph of the batch.

    Each head scores every pair (image of this stage, image of the stage before); the softmax of
    the scores weighs the values of the stage before, and two layers make the prediction of them.

    Source: Lee & Song 2019, section 3.2.
    """

    def __init__(self, before: int, here: int, heads: int = 8) -> None:
        super().__init__()
        self._heads = heads
        width = heads * max(1, here // heads)
        self.query = nn.Linear(here, width)
        self.key = nn.Linear(before, width)
        self.value = nn.Linear(before, width)
        self.estimate = nn.Sequential(
            nn.Linear(width, here), nn.LeakyReLU(0.1), nn.Linear(here, here)
        )

    def scores(self, before: Tensor, here: Tensor) -> Tensor:
        """Scores [A, B, B] of vectors [B, C1] and [B, C2] of length 1."""
        query = self._split(self.query(_unit_variance(here)))
        key = self._split(self.key(_unit_variance(before)))
        scale: float = query.shape[2] ** -0.5
        return (query * scale) @ key.mT

    def predict(self, before: Tensor, here: Tensor) -> Tensor:
        """Predict the vectors of this stage, [B, C2], of any length."""
        value = self._split(self.value(_unit_variance(before)))
        attended = self.scores(before, here).softmax(2) @ value  # [A, B, width / A]
        return self.estimate(attended.transpose(0, 1).flatten(1))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        """[B, width] to [A, B, width / A]."""
        return x.view(len(x), self._heads, -1).transpose(0, 1)


def _unit_variance(vectors: Tensor) -> Tensor:
    # what the initial weights of a linear layer are made for
    scale: float = vectors.shape[1] ** 0.5
    return vectors * scale


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.1),
    )
