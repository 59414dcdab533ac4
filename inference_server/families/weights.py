"""Weights: a PyTorch model's tensors as safetensors; a declared size allocates nothing that the file does not hold."""

from __future__ import annotations

import errno
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_file, save_model

from inference_server.families.base import ModelUnreadable

FILE_NAME = "model.safetensors"

MAX_BUFFER_ELEMENTS = 1 << 26
"""What a model may hold besides its stored weights (causal masks, rotary tables): 256 MiB as 32-bit floats."""

_BAD_SIZES = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def save_weights(model: torch.nn.Module, path: Path) -> None:
    """Write every tensor once; two names of one tensor are remembered as such. Raises `OSError`."""
    with _writing(path):
        save_model(model, str(path))


def save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Raises `OSError`."""
    with _writing(path):
        save_file(tensors, str(path))


def tensor_shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    """The names and shapes in a safetensors file, from its header alone. Raises `ModelUnreadable`."""
    if not path.is_file():
        raise ModelUnreadable(f"The model has no {path.name}; weights are never read from a pickle.")
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelUnreadable(f"{path.name} is not a whole safetensors file: {error}") from error


def load_weights(build: Callable[[], torch.nn.Module], path: Path, device: str) -> torch.nn.Module:
    """The model that `build` declares, with the weights of `path`, ready to predict on `device`.

    `build` is called twice: first without memory, to hold its tensors against the file's. Raises `ModelUnreadable` if
    a name or a shape differs, if a weight is not a finite number, or if `build` fails.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelUnreadable("The model is to run on a GPU, and PyTorch finds none here.")
    declared = skeleton(build)
    _compare(declared, tensor_shapes(path), path.name)
    model = build()
    try:
        load_model(model, str(path), strict=True)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ModelUnreadable(f"{path.name} could not be read into the declared architecture: {error}") from error
    if broken := [name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()]:
        raise ModelUnreadable(f"{path.name} holds weights that are not finite numbers, in {broken[0]}.")
    return model.eval().to(device)


def skeleton(build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """What `build` declares, on torch's meta device, where a tensor has a shape and takes no memory."""
    try:
        with torch.device("meta"):
            declared = build()
    except _BAD_SIZES as error:
        raise ModelUnreadable(f"The declared architecture cannot be built: {error}") from error
    if sum(buffer.numel() for buffer in declared.buffers()) > MAX_BUFFER_ELEMENTS:
        raise ModelUnreadable("The declared architecture needs too much memory besides its weights.")
    return declared


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """A full disk is an `OSError` with its number, as everywhere else; safetensors has an error of its own."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error), str(path)) from error


def _compare(declared: torch.nn.Module, stored: Mapping[str, tuple[int, ...]], file_name: str) -> None:
    names_of_tensor: dict[int, list[str]] = defaultdict(list)
    tensors = declared.state_dict(keep_vars=True)
    for name, tensor in tensors.items():
        names_of_tensor[id(tensor)].append(name)
    missing = [names[0] for names in names_of_tensor.values() if not any(name in stored for name in names)]
    unknown = [name for name in stored if name not in tensors]
    for sort, names in (("lacks", missing), ("has the undeclared", unknown)):
        if names:
            raise ModelUnreadable(f"{file_name} does not fit the declared architecture: it {sort} {names[0]}.")
    for name, shape in stored.items():
        if shape != tuple(tensors[name].shape):
            raise ModelUnreadable(
                f"{file_name} does not fit the declared architecture: "
                f"{name} is {shape}, declared is {tuple(tensors[name].shape)}."
            )
