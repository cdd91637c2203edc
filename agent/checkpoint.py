"""A checkpoint becomes a base model: found, quantized, checked, hashed.

A silent corruption is kept out here: bitsandbytes repacks 4-bit weights at the first forward pass
without gradients on CPUs with AVX512-BF16, and gradients through the packed weights are wrong. The
packing is switched off, and on a CPU with room the weights are unpacked once, which also is faster.
"""

import gc
import hashlib
import inspect
import json
from pathlib import Path

import bitsandbytes as bnb
import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from agent import prompts
from agent.errors import ModelError
from agent.settings import model_folder

HOUSE_DIR = Path(__file__).parent.parent / "house" / "weights"

MAX_UNPACKED_BYTES = 2 * 1024**3
"""Unpack the 4-bit weights on a CPU only if they then take less. Chosen, not measured."""


def load_checkpoint(name: str, quantize: str) -> tuple[torch.nn.Module, object]:
    """Return the frozen model, on the GPU if there is one, and its tokenizer.

    Args:
        name: "house", a folder, or a hub id.
        quantize: "nf4" or "none".

    Raises:
        ModelError: If there is no such model, or it cannot be talked to as `prompts.py` does.
    """
    path = _find(name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
    ) if quantize == "nf4" else None  # fmt: skip
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(
            path, quantization_config=config, dtype=dtype, device_map={"": device}
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(_no_model(name, error)) from error
    _check_use(name, model, tokenizer)
    return model.requires_grad_(False), tokenizer


def hash_of(model: torch.nn.Module, tokenizer: object, form: str) -> str:
    """Return sha256 over weights, tokenizer, chat template, prompts.py, and the form of quantization
    and adapters: what an adapter was made for. A CPU and a GPU hold numbers that are not quantized in
    different types, so all are hashed as bf16, and the types bitsandbytes notes are left out."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if ".quant_state." in name:
            continue
        digest.update(name.encode())
        tensor = tensor.detach().cpu().contiguous().flatten()
        tensor = tensor.bfloat16() if tensor.dtype in (torch.float32, torch.float16) else tensor
        digest.update(tensor.view(torch.uint8).numpy().tobytes())
    if tokenizer.is_fast:
        digest.update(tokenizer.backend_tokenizer.to_str().encode())
    digest.update(json.dumps(tokenizer.get_vocab(), sort_keys=True).encode())
    digest.update(str(tokenizer.chat_template).encode())
    digest.update(Path(prompts.__file__).read_bytes())
    digest.update(form.encode())
    return digest.hexdigest()


def make_trainable_through(model: torch.nn.Module) -> None:
    """Have gradients flow rightly through 4-bit weights, unpacked if there is room."""
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False
    if model.device.type == "cpu" and 0 < _unpacked_bytes(model) <= MAX_UNPACKED_BYTES:
        _unpack(model)


def compute_of(device: str) -> torch.dtype:
    """Return the type of long passes: bf16 where the hardware has it."""
    is_fast = device == "cuda" or torch.cpu.get_capabilities().get("amx_bf16", False)
    return torch.bfloat16 if is_fast else torch.float32


def _find(name: str) -> str:
    """Return what transformers can load for a --model."""
    if name == "house":
        name = str(HOUSE_DIR)
    if folder := model_folder(name):
        return folder
    try:
        if not try_to_load_from_cache(name, "config.json"):
            # Asked once: without a network, downloads try again for a minute and a half.
            HfApi().model_info(name, timeout=10)
    except Exception as error:  # no network, no such model, no possible id: all of other classes
        raise ModelError(_no_model(name, error)) from error
    return name


def _check_use(name: str, model: torch.nn.Module, tokenizer: object) -> None:
    """Refuse a model that cannot be asked as this project asks."""
    if tokenizer.chat_template is None:
        raise ModelError(
            f"The model {name!r} has no chat template, so it cannot be talked to. Pass an instruct model."
        )
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        raise ModelError(
            f"The model {name!r} is a {type(model).__name__}, which cannot give the logits of chosen positions. "
            f"Pass another model."
        )
    try:
        tokenizer.apply_chat_template(prompts.chat([], "Hi"))
    except Exception as error:  # a template raises what it likes
        raise ModelError(
            f"The chat template of {name!r} refuses a system message ({_first_line(error)}). Pass another model."
        ) from error


def _no_model(name: str, error: Exception) -> str:
    return (
        f"The model {name!r} cannot be loaded ({_first_line(error)}). Pass --model house, "
        f"a folder with config.json, weights and tokenizer, or the id of a hub model."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _unpacked_bytes(model: torch.nn.Module) -> int:
    return sum(
        module.in_features * module.out_features * 4
        for module in model.modules()
        if isinstance(module, bnb.nn.Linear4bit)
    )


def _unpack(model: torch.nn.Module) -> None:
    """Replace each 4-bit layer by a plain one that holds the same (quantized) numbers."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, bnb.nn.Linear4bit):
                weight = bnb.functional.dequantize_4bit(child.weight.data, child.weight.quant_state)
                plain = torch.nn.Linear(
                    child.in_features,
                    child.out_features,
                    bias=child.bias is not None,
                    device="meta",
                )
                plain.weight = torch.nn.Parameter(weight.to(torch.float32), requires_grad=False)
                if child.bias is not None:
                    plain.bias = torch.nn.Parameter(
                        child.bias.data.to(torch.float32), requires_grad=False
                    )
                setattr(parent, name, plain)
    model.is_loaded_in_4bit = False
    gc.collect()
