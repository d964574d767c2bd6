"""Names as people write them."""

DATASETS = {
    "mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100",
    "tiny_imagenet": "Tiny-ImageNet",
}  # fmt: skip


def dataset_title(dataset: str) -> str:
    return DATASETS.get(dataset, dataset)
