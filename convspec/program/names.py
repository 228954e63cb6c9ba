"""Python identifiers for layers: legal, unique, and as close to the layer's name as can be."""

from __future__ import annotations

import keyword
import re
from collections.abc import Container

# Functions and modules of `convspec_kernels` that emitted code calls.
KERNELS = frozenset(
    "Noise Peers SyncBatchNorm TreeLinear avg_pool2d bias_act_lrn_max_pool2d binary_cross_entropy "
    "binary_cross_entropy_with_logits channel_max_pool contrast_norm cross_entropy dropout gated_sum_of_squares "
    "gaussian_blur local_response_norm locally_connected2d log_square_error max_abs_pool2d max_pool2d maximum "
    "normal_like random_rescale resize_bilinear response_norm rgb_to_lab rgb_to_yuv scale_gradient "
    "subset_cross_entropy sum_of_squares sum_pool2d topographic_energy".split()
)
# What a module of ours may not call its own: attributes of nn.Module, and the names that emitted code uses.
_RESERVED = frozenset(
    "T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches eval "
    "extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict modules "
    "mtia named_buffers named_children named_modules named_parameters parameters register_backward_hook register_buffer "
    "register_forward_hook register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook "
    "register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter "
    "register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule "
    "share_memory state_dict to to_empty train training type xpu zero_grad "
    "gpus place I O l self inputs noise outputs torch nn F Tensor super dict objective reset_parameters".split()
)


def fresh(name: str, taken: Container[str]) -> str:
    """The name, with as many underscores behind it as make it none of those taken."""
    while name in taken:
        name += "_"
    return name


class Names:
    """Hands out identifiers; the same sequence of requests gives the same names."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def unique(self, layer: str) -> str:
        """An identifier for a layer that no earlier request got."""
        base = re.sub(r"[^0-9A-Za-z_]+", "_", layer).strip("_") or "layer"
        if base[0].isdigit():
            base = f"layer_{base}"
        if keyword.iskeyword(base) or base in _RESERVED | KERNELS or base.startswith("__"):
            base = f"{base}_"
        name, count = base, 1
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name
