"""scikit-learn's digits: real 8 x 8 images that come with the package."""

from collections.abc import Sequence
from pathlib import Path

import torch

from afdctl.data.base import Dataset, DatasetInfo, DatasetLoader, ImageTensors
from afdctl.recipe.schema import Data


class Digits(DatasetLoader):
    """1,797 handwritten digits (UCI ML, Alpaydin and Kaynak 1998), in a fixed stratified split."""

    name = "digits"
    about = DatasetInfo(1437, 360, 10, (1, 8, 8))

    def find(self, roots: Sequence[Path]) -> str:
        return "embedded"

    def load(self, data: Data, roots: Sequence[Path]) -> Dataset:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        x = torch.from_numpy(digits.images * 255 / 16).round().to(torch.uint8).unsqueeze(1)
        y = torch.from_numpy(digits.target).long()
        train, test = train_test_split(torch.arange(len(y)), test_size=360, stratify=y, random_state=0)
        return Dataset(self.name, ImageTensors(x[train], y[train]), ImageTensors(x[test], y[test]), tuple("0123456789"))
