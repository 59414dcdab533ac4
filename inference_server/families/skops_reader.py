"""Reads `model.skops` files with an allow-list of our own: nothing is loaded because the file says so.

The format is skops' (a zip with `schema.json`, a tree of nodes, and arrays in NumPy's own format). skops' loader trusts
several hundred types and functions by default, imports all of scikit-learn to list them (and PyTorch, where it is
installed), and can bind methods and functions that a file names. This one knows a dozen kinds of nodes and the classes
below, so that what is not needed cannot be reached. The test suite holds it equal to skops' loader on what is allowed.
"""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np

from inference_server.families.base import ModelUnreadable

PROTOCOL = 2
MT19937_WORDS = 624

CLASSES = frozenset(
    {
        "sklearn.compose._column_transformer.ColumnTransformer",
        "sklearn.compose._target.TransformedTargetRegressor",
        "sklearn.impute._base.SimpleImputer",
        "sklearn.neural_network._multilayer_perceptron.MLPClassifier",
        "sklearn.neural_network._multilayer_perceptron.MLPRegressor",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.pipeline.Pipeline",
        "sklearn.preprocessing._data.StandardScaler",
        "sklearn.preprocessing._encoders.OneHotEncoder",
        "sklearn.preprocessing._label.LabelBinarizer",
    }
)
SCALARS: Mapping[str, type[Any]] = {
    f"numpy.{t.__name__}": t for t in (np.bool_, np.float32, np.float64, np.int32, np.int64, np.str_, np.uint32)
}
TYPES: Mapping[str, type[Any]] = {"builtins.str": str, "builtins.int": int, "builtins.float": float, **SCALARS}

_DAMAGED = (
    ArithmeticError,
    AttributeError,
    BadZipFile,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,  # an encrypted member; nesting deeper than the stack
    TypeError,
    ValueError,
)


def read_skops(path: Path) -> Any:
    """The object in the skops file at `path`. Raises `ModelUnreadable`; a hostile file's code is not run."""
    with _opened(path) as handle:
        start = handle.read(4)
    if start[:1] == b"\x80":
        raise ModelUnreadable(f"{path.name} is a pickle, which can run code when it is opened; it is refused.")
    if start != b"PK\x03\x04":
        raise ModelUnreadable(f"{path.name} is not a skops file; it is refused.")
    try:
        with ZipFile(path) as archive:
            return _Reader(archive, path.name).read()
    except _DAMAGED as error:
        raise ModelUnreadable(f"{path.name} is damaged: {error or type(error).__name__}.") from error


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise ModelUnreadable(f"{path.name} cannot be read: {error.strerror}.") from error


class _Reader:
    def __init__(self, archive: ZipFile, name: str) -> None:
        self._archive = archive
        self._name = name
        self._members = {info.filename: info for info in archive.infolist()}
        self._built: dict[int, Any] = {}
        self._builders: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
            "JsonNode": lambda node: json.loads(node["content"]),
            "ListNode": self._list,
            "TupleNode": self._tuple,
            "DictNode": self._dict,
            "SliceNode": self._slice,
            "TypeNode": lambda node: self._allowed(TYPES, node),
            "NdArrayNode": self._array,
            "DTypeNode": lambda node: self._build(node["content"]).dtype,
            "RandomStateNode": self._random_state,
            "ObjectNode": self._object,
        }

    def read(self) -> Any:
        schema = json.loads(self._take("schema.json"))
        if schema["protocol"] != PROTOCOL:
            raise ModelUnreadable(
                f"{self._name} has skops protocol {schema['protocol']!r}; this server reads {PROTOCOL}."
            )
        return self._build(schema)

    def _take(self, member: str) -> bytes:
        """A member's bytes. Stored, and each at most once: so that what is read is never more than the file's size."""
        info = self._members.pop(member)
        if info.compress_type != ZIP_STORED:
            raise ModelUnreadable(f"{self._name} is compressed; save it with skops' default, uncompressed.")
        return self._archive.read(info)

    def _build(self, node: Mapping[str, Any]) -> Any:
        """The object of this node; nodes with one id are one object, as they were when they were saved."""
        identity = node.get("__id__")
        if identity is not None and identity in self._built:
            return self._built[identity]
        builder = self._builders.get(node["__loader__"])
        if builder is None:
            raise self._refused(node)
        built = builder(node)
        if identity is not None:
            self._built[identity] = built
        return built

    def _allowed(self, known: Mapping[str, type[Any]], node: Mapping[str, Any]) -> type[Any]:
        if _type_name(node) not in known:
            raise self._refused(node)
        return known[_type_name(node)]

    def _refused(self, node: Mapping[str, Any]) -> ModelUnreadable:
        what = f"{_type_name(node)} ({node['__loader__']})"
        return ModelUnreadable(
            f"{self._name} holds {what:.200}, which is not among the types that may be loaded; it is refused."
        )

    def _list(self, node: Mapping[str, Any]) -> list[Any]:
        self._allowed({"builtins.list": list}, node)
        return [self._build(item) for item in node["content"]]

    def _tuple(self, node: Mapping[str, Any]) -> tuple[Any, ...]:
        self._allowed({"builtins.tuple": tuple}, node)
        return tuple(self._build(item) for item in node["content"])

    def _dict(self, node: Mapping[str, Any]) -> dict[Any, Any]:
        self._allowed({"builtins.dict": dict}, node)
        key_types = self._build(node["key_types"])
        return {
            kind(key): self._build(value) for kind, (key, value) in zip(key_types, node["content"].items(), strict=True)
        }

    def _slice(self, node: Mapping[str, Any]) -> slice:
        content = node["content"]
        return slice(content["start"], content["stop"], content["step"])

    def _array(self, node: Mapping[str, Any]) -> Any:
        kind = self._allowed({"numpy.ndarray": np.ndarray, **SCALARS}, node)
        if node["type"] == "json":
            return self._object_array(node)
        array = np.lib.format.read_array(io.BytesIO(self._take(node["file"])), allow_pickle=False)
        return array if kind is np.ndarray else kind(array)

    def _object_array(self, node: Mapping[str, Any]) -> Any:
        items = [self._build(item) for item in node["content"]]
        shape = self._build(node["shape"])
        if len(shape) > 1:
            return np.array(items, dtype=object)
        array = np.empty(len(items), dtype=object)
        for index, item in enumerate(items):  # one by one: NumPy would spread lists over further dimensions
            array[index] = item
        return array

    def _random_state(self, node: Mapping[str, Any]) -> np.random.RandomState:
        self._allowed({"numpy.random.mtrand.RandomState": np.random.RandomState}, node)
        state = self._build(node["content"])
        if not 0 <= state["state"]["pos"] <= MT19937_WORDS:  # NumPy takes it as an index without looking
            raise ValueError("a random state points outside its words")
        random_state = np.random.RandomState()
        random_state.set_state(state)
        return random_state

    def _object(self, node: Mapping[str, Any]) -> Any:
        """An instance made without `__init__` and given its attributes, as scikit-learn's own pickling does."""
        if _type_name(node) not in CLASSES:
            raise self._refused(node)
        cls = getattr(importlib.import_module(node["__module__"]), node["__class__"])
        instance = cls.__new__(cls)
        attributes = self._build(node["content"]) if node.get("content") is not None else None
        if attributes is not None and hasattr(instance, "__setstate__"):
            instance.__setstate__(attributes)
        elif attributes is not None:
            instance.__dict__.update(attributes)
        return instance


def _type_name(node: Mapping[str, Any]) -> str:
    return f"{node['__module__']}.{node['__class__']}"
