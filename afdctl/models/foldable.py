"""Find the convolutions of a network that a BatchNorm follows, in any code that torch.fx can trace."""

from collections import Counter

import torch
from torch import fx, nn

from afdctl.models.sync_batch_norm import SyncBatchNorm2d


class LayerTracer(fx.Tracer):
    """Traces a network in evaluation mode down to convolutions, BatchNorm and torch's other layers."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # timm has subclasses, which would be traced into
        return isinstance(m, nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def convolutions_before_norms(network: nn.Module) -> list[tuple[str, str]]:
    """Return the names of each convolution and the BatchNorm that alone reads its maps, both called once in a pass.

    Such a pair is one convolution in evaluation mode. A BatchNorm before a convolution, as in a pre-activation block,
    has no such pair where a sum or another reader is between them. Empty where the code cannot be traced, such as code
    that depends on values.
    """
    if not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()):
        return []
    try:
        # code may draw random numbers while it is traced
        with torch.random.fork_rng(devices=[]):
            graph = LayerTracer().trace(network)
    # a user's code may raise anything when its inputs are not tensors
    except Exception:  # noqa: BLE001
        return []
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    # weights that are read outside their layer must stay as they are
    read = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    once = {name for name, count in calls.items() if count == 1} - read
    layers = {node: network.get_submodule(node.target) for node in graph.nodes if node.op == "call_module"}
    pairs = []
    for node, layer in layers.items():
        conv = node.args[0]
        if not (is_foldable_norm(layer) and len(node.args) == 1 and isinstance(conv, fx.Node) and conv in layers):
            continue
        alone = len(conv.users) == 1 and {conv.target, node.target} <= once
        if alone and type(layers[conv]) is nn.Conv2d:
            pairs.append((str(conv.target), str(node.target)))
    return pairs


def is_foldable_norm(layer: nn.Module) -> bool:
    """Whether a layer is BatchNorm with weights and running statistics, in timm's form too."""
    known = type(layer) in (nn.BatchNorm2d, SyncBatchNorm2d) or is_norm_with_activation(layer)
    return known and isinstance(layer.running_mean, torch.Tensor) and isinstance(layer.weight, torch.Tensor)


def is_norm_with_activation(layer: nn.Module) -> bool:
    """Whether a layer is timm's BatchNorm with dropout and activation, which is known by name."""
    return isinstance(layer, nn.BatchNorm2d) and type(layer).__name__ == "BatchNormAct2d"


def after_normalisation(norm: nn.Module) -> nn.Module:
    """Return what remains of a foldable BatchNorm once it is folded."""
    children = ("drop", "act") if is_norm_with_activation(norm) else ()
    return nn.Sequential(*(norm.get_submodule(name) for name in children))


def is_plain(conv: nn.Conv2d) -> bool:
    """Whether a convolution has a square window of odd size, padded to keep the maps' sides at stride 1."""
    kernel, reach = conv.kernel_size[0], conv.kernel_size[0] // 2
    expected = ((kernel, kernel), (reach, reach), (1, 1), 1, "zeros")
    square = conv.stride[0] == conv.stride[1] and kernel % 2 == 1
    return square and expected == (conv.kernel_size, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
