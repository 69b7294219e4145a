"""What to compute on, and in which precision."""

from __future__ import annotations

import torch

from mlcl.errors import UserError


def device(name: str) -> torch.device:
    """`auto` is the GPU where torch sees one, else the CPU. Raises `UserError` for `cuda` where it sees none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda, but torch sees no GPU here; set device: auto, or install a GPU build of torch")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def autocast(on: torch.device, precision: str) -> torch.autocast:
    """bfloat16 matrix products for `bfloat16`, and for `auto` where the hardware has an instruction for them."""
    return torch.autocast(
        on.type, torch.bfloat16, enabled=_bfloat16(on) if precision == "auto" else precision != "float32"
    )


def _bfloat16(on: torch.device) -> bool:
    if on.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 and later
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
