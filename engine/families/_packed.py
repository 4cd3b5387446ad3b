"""Linear layers with weights laid out once as oneDNN reads them: a processor's bfloat16 models run faster.

A plain `Linear` has its weight laid out anew in every call. Knows torch modules and no model family.
"""

from __future__ import annotations

from collections import Counter
from typing import Any


def pack_linears(model: Any) -> int:
    """Replace the bfloat16 `Linear` layers on the processor by packed ones; how many.

    A weight that another module holds too (a tied embedding) stays as it is: a packed copy would be memory
    that no plan foresees. None are replaced where torch was built without oneDNN.
    """
    import torch

    if not torch.backends.mkldnn.is_available():
        return 0
    shared = Counter(id(w) for m in model.modules() for w in m.parameters(recurse=False))
    packed: dict[int, Any] = {}  # a layer that two modules share is packed once
    for module in list(model.modules()):
        for name, child in list(module._modules.items()):  # named_children leaves out second names
            if id(child) not in packed and _fits(child) and shared[id(child.weight)] == 1:
                packed[id(child)] = _pack(child)
            if id(child) in packed:
                setattr(module, name, packed[id(child)])
    return len(packed)


def _fits(module: Any) -> bool:
    import torch

    if type(module) is not torch.nn.Linear:  # a subclass may do something else
        return False
    weight = module.weight
    plain = type(weight.data) is torch.Tensor  # a quantised weight is a kind of its own
    hooked = module._forward_hooks or module._forward_pre_hooks
    here = weight.device.type == "cpu" and weight.dtype == torch.bfloat16
    return bool(plain and here and not hooked)


def _pack(linear: Any) -> Any:
    import torch

    class PackedLinear(torch.nn.Module):
        """y = x Wᵀ + b, for inference alone. `weight` is empty: it tells its type and place to who asks.

        `packed_bytes` is what the weight takes in its own layout.
        """

        def __init__(self) -> None:
            super().__init__()
            self.in_features, self.out_features = linear.in_features, linear.out_features
            self.packed_bytes = linear.weight.numel() * linear.weight.element_size()
            self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
            bias = None if linear.bias is None else linear.bias.detach()
            self.register_buffer("bias", bias, persistent=False)
            self.register_buffer("weight", linear.weight.new_empty(0), persistent=False)

        def forward(self, x: Any) -> Any:
            """(..., in_features) to (..., out_features)."""
            return torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")

    layer = PackedLinear()
    linear.weight = None
    return layer
