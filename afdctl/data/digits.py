"""scikit-learn's digits: 8 x 8 grey images that come with the package."""

from collections.abc import Sequence
from pathlib import Path

import torch

from afdctl.data.base import Dataset, DatasetInfo, DatasetLoader, ImageTensors


class Digits(DatasetLoader):
    """1,797 handwritten digits (UCI ML, Alpaydin and Kaynak 1998) in a fixed stratified split."""

    name = "digits"
    info = DatasetInfo(train=1437, test=360, classes=10, shape=(1, 8, 8))

    def find(self, roots: Sequence[Path]) -> str:
        return "embedded"

    def load(self, roots: Sequence[Path], *, image_size: int | None = None, channels: int | None = None) -> Dataset:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        # 17 grey levels, from 0 to 16
        x = torch.from_numpy(digits.images * 255 / 16).round().to(torch.uint8).unsqueeze(1)
        y = torch.from_numpy(digits.target).long()
        # not from the recipe's seed, so that all runs share one test split
        train, test = train_test_split(torch.arange(len(y)), test_size=360, stratify=y, random_state=0)
        return Dataset(
            name=self.name,
            train=ImageTensors(x[train], y[train]),
            test=ImageTensors(x[test], y[test]),
            classes=tuple("0123456789"),
        )
