"""The mean of several runs' weights."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def mean_of(
    folders: Sequence[Path], to: Path, *, share: float | None = None, attention: float | None = None
) -> None:
    """Write the mean of the weights of all folders, added in fp32; config and state are the last's.

    Args:
        share: What the last one weighs, the others the rest in equal parts; None weighs all equally.
        attention: The same for attention and norms, None for no difference: what is known of films
            stands in the others (docs/lab_book.md).

    Raises:
        ValueError: the folders hold different tensors, or are too few for a share.
    """
    others = len(folders) - 1
    if not others:
        raise ValueError("A mean takes at least two runs; only one was named.")
    shutil.copytree(folders[-1], to, dirs_exist_ok=True)
    for path in sorted(to.glob("*.safetensors")):
        parts = [load_file(folder / path.name) for folder in folders]
        names = parts[-1].keys()
        if any(part.keys() != names for part in parts):
            raise ValueError(f"{path.name} holds other tensors in another run.")
        mean = {}
        for name in names:
            is_other = attention is None or "mlp" in name or "embed" in name
            last = share if is_other else attention
            weights = torch.full([len(parts)], 1 / len(parts))
            if last is not None:
                weights = torch.tensor([(1 - last) / others] * others + [last])
            tensors = torch.stack([part[name].float() for part in parts])
            mean[name] = torch.tensordot(weights, tensors, 1).to(parts[-1][name].dtype)
        save_file(mean, path, metadata={"format": "pt"})
    state = json.loads((to / "state.json").read_text(encoding="utf-8"))
    (to / "state.json").write_text(
        json.dumps(state | {"mean_of": len(folders)}) + "\n", encoding="utf-8"
    )
