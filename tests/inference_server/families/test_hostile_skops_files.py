"""Hostile skops files: none of them runs code, or is more than refused in a sentence."""

from __future__ import annotations

import functools
import io
import json
import operator
import os
import pickle
import random
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import scipy.sparse
import skops.io
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from inference_server.families.base import ModelUnreadable
from inference_server.families.skops_reader import read_skops


def schema_of(file: Path) -> dict[str, Any]:
    with zipfile.ZipFile(file) as archive:
        return json.loads(archive.read("schema.json"))


def write(
    file: Path, schema: Any, members: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED
) -> Path:
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in (members or {}).items():
            archive.writestr(name, content)
        archive.writestr("schema.json", schema if isinstance(schema, bytes) else json.dumps({"protocol": 2, **schema}))
    return file


def node(loader: str, name: str, **fields: Any) -> dict[str, Any]:
    module, _, cls = name.rpartition(".")
    return {"__loader__": loader, "__module__": module, "__class__": cls, **fields}


def value(content: Any) -> dict[str, Any]:
    return node("JsonNode", "builtins.str", content=json.dumps(content))


def sequence(loader: str, kind: str, *items: Any) -> dict[str, Any]:
    return node(loader, f"builtins.{kind}", content=list(items))


def mapping(**items: Any) -> dict[str, Any]:
    keys = sequence("ListNode", "list", *(node("TypeNode", "builtins.str") for _ in items))
    return node("DictNode", "builtins.dict", key_types=keys, content=items)


def refused(file: Path) -> str:
    with pytest.raises(ModelUnreadable) as caught:
        read_skops(file)
    return str(caught.value)


class Trap:
    """Creates the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.canary),))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_refused_by_name_and_not_opened(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / "model.skops"
    file.write_bytes(pickle.dumps(Trap(tmp_path / "canary"), protocol))
    assert refused(file) == "model.skops is a pickle, which can run code when it is opened; it is refused."
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("protocol", [0, 1])
def test_an_old_pickle_is_refused_too(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / "model.skops"
    file.write_bytes(pickle.dumps(Trap(tmp_path / "canary"), protocol))
    assert refused(file) == "model.skops is not a skops file; it is refused."
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3)])
def test_a_joblib_file_is_refused(tmp_path: Path, compress: Any) -> None:
    file = tmp_path / "model.skops"
    joblib.dump(Trap(tmp_path / "canary"), file, compress=compress)
    assert "it is refused" in refused(file)
    assert not (tmp_path / "canary").exists()


def test_a_pickle_in_front_of_a_zip_is_refused(tmp_path: Path) -> None:
    skops.io.dump({"a": 1}, tmp_path / "inner.skops")
    file = tmp_path / "model.skops"
    file.write_bytes(pickle.dumps(Trap(tmp_path / "canary")) + (tmp_path / "inner.skops").read_bytes())
    assert "is a pickle" in refused(file)
    assert not (tmp_path / "canary").exists()


def test_a_pickle_within_an_array_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Trap(tmp_path / "canary")], dtype=object), allow_pickle=True)
    array = node("NdArrayNode", "numpy.ndarray", type="numpy", file="1.npy")
    assert "damaged" in refused(write(tmp_path / "model.skops", array, {"1.npy": buffer.getvalue()}))
    assert not (tmp_path / "canary").exists()


def canary_command(canary: Path) -> dict[str, Any]:
    return sequence("TupleNode", "tuple", value(str(canary)))


ATTACKS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "a constructor": lambda c: node("ConstructorFromReduceNode", "os.mkdir", content=canary_command(c)),
    "a constructor of a popen": lambda c: node(
        "ConstructorFromReduceNode", "subprocess.Popen", content=canary_command(c)
    ),
    "an object of any class": lambda c: node("ObjectNode", "subprocess.Popen", content=mapping(args=value("touch x"))),
    "a function": lambda c: node("FunctionNode", "os.mkdir"),
    "a partial": lambda c: node("PartialNode", "functools.partial", content={"func": node("FunctionNode", "os.mkdir")}),
    "a method": lambda c: node("MethodNode", "pathlib.Path", content={"func": "mkdir", "obj": value("x")}),
    "an operator": lambda c: node("OperatorFuncNode", "operator.methodcaller", attrs=canary_command(c)),
    "a type": lambda c: node("TypeNode", "os.mkdir"),
    "a list of another type": lambda c: node("ListNode", "os.mkdir", content=[value(str(c))]),
    "a tuple of another type": lambda c: node("TupleNode", "os.mkdir", content=[value(str(c))]),
    "a dict of another type": lambda c: {**mapping(a=value(1)), "__module__": "os", "__class__": "getcwd"},
    "keys of another type": lambda c: node(
        "DictNode",
        "builtins.dict",
        key_types=sequence("ListNode", "list", node("TypeNode", "os.mkdir")),
        content={str(c): value(1)},
    ),
    "keys made by a method": lambda c: node(
        "DictNode",
        "builtins.dict",
        key_types=sequence("ListNode", "list", value("x")),
        content={str(c): value(1)},
    ),
    "an array of another type": lambda c: node("NdArrayNode", "os.mkdir", type="numpy", file="1.npy"),
    "a random state of another type": lambda c: node("RandomStateNode", "os.mkdir", content=mapping()),
    "a random generator": lambda c: node("RandomGeneratorNode", "numpy.random.Generator", content={}),
    "a tree": lambda c: node("TreeNode", "sklearn.tree._tree.Tree", content=mapping(), __reduce__={"args": value([])}),
    "a loss": lambda c: node("LossNode", "os.mkdir", content=mapping(), __reduce__={"args": canary_command(c)}),
    "a default dict": lambda c: node("DefaultDictNode", "collections.defaultdict", content={}),
    "a set": lambda c: node("SetNode", "builtins.set", content=[]),
    "a reference to nothing": lambda c: node("CachedNode", "builtins.str", __id__=7),
    "bytes": lambda c: node("BytesNode", "builtins.bytes", file="1.npy"),
    "a sparse matrix": lambda c: node("SparseMatrixNode", "scipy.sparse._csr.csr_matrix", type="scipy", file="1.npy"),
    "a class by another module": lambda c: node("ObjectNode", "sklearn.pipeline.os.Pipeline"),
    "a class within a class": lambda c: node("ObjectNode", "sklearn.pipeline.Pipeline.fit"),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
@pytest.mark.parametrize("where", ["root", "list", "attribute"])
def test_a_node_that_could_run_code_is_refused(
    tmp_path: Path, attack: Callable[[Path], dict[str, Any]], where: str
) -> None:
    canary = tmp_path / "canary"
    hostile = attack(canary)
    schema = {
        "root": hostile,
        "list": sequence("ListNode", "list", value(1), hostile),
        "attribute": node("ObjectNode", "sklearn.pipeline.Pipeline", content=mapping(steps=hostile)),
    }[where]
    refused(write(tmp_path / "model.skops", schema, {"1.npy": b""}))
    assert not canary.exists()


@pytest.mark.parametrize(
    "content",
    [
        RandomForestClassifier(2).fit([[0.0], [1.0]], [0, 1]),
        Pipeline([("run", FunctionTransformer(np.log))]),
        FunctionTransformer(os.mkdir),
        functools.partial(print, 1),
        operator.attrgetter("a"),
        StandardScaler().fit,
        random.Random,
        defaultdict(list),
        OrderedDict(a=1),
        {1, 2},
        b"bytes",
        scipy.sparse.eye_array(3).tocsr(),
        np.random.default_rng(0),
        np.ma.MaskedArray([1], [True]),
    ],
    ids=lambda content: type(content).__name__,
)
def test_what_skops_saves_and_the_trainer_does_not_need_is_refused(tmp_path: Path, content: Any) -> None:
    skops.io.dump(content, tmp_path / "model.skops")
    assert "not among the types that may be loaded" in refused(tmp_path / "model.skops")


@pytest.mark.parametrize("protocol", [0, 1, 3, "2", None, True])
def test_another_protocol_is_refused(tmp_path: Path, protocol: Any) -> None:
    file = write(tmp_path / "model.skops", {**value(1), "protocol": protocol})
    assert "protocol" in refused(file)


@pytest.mark.parametrize(
    "schema",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"protocol": 2}',
        b'{"protocol": 2, "__loader__": "JsonNode"}',
        b'{"protocol": 2, "__loader__": ["JsonNode"], "__module__": "a", "__class__": "b"}',
        b'{"protocol": 2, "__loader__": "ListNode", "__module__": "builtins", "__class__": "list", "content": 3}',
        b"[" * 200_000,
        b"\xff\xfe",
    ],
    ids=lambda schema: schema[:40].decode("latin-1"),
)
def test_a_broken_schema_is_refused_in_a_sentence(tmp_path: Path, schema: bytes) -> None:
    assert refused(write(tmp_path / "model.skops", schema)).endswith(".")


def test_nodes_nested_without_end_are_refused(tmp_path: Path) -> None:
    nested: Any = value(1)
    for _ in range(400):
        nested = sequence("ListNode", "list", nested)
    assert "damaged" in refused(write(tmp_path / "model.skops", nested))


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path, regressor_folder: Path) -> None:
    whole = (regressor_folder / "model.skops").read_bytes()
    for share in (0, 3, 100, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        (tmp_path / "model.skops").write_bytes(whole[:share])
        assert "refused" in refused(tmp_path / "model.skops") or "damaged" in refused(tmp_path / "model.skops")


def test_a_compressed_file_is_refused_so_that_it_cannot_swell(tmp_path: Path) -> None:
    file = write(tmp_path / "model.skops", value("x" * 10_000_000), compression=zipfile.ZIP_DEFLATED)
    assert "compressed" in refused(file)


def test_one_array_read_a_thousand_times_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(1000))
    array = node("NdArrayNode", "numpy.ndarray", type="numpy", file="1.npy")
    schema = sequence("ListNode", "list", *[array] * 1000)
    assert "damaged" in refused(write(tmp_path / "model.skops", schema, {"1.npy": buffer.getvalue()}))


def test_an_array_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)})
    array = node("NdArrayNode", "numpy.ndarray", type="numpy", file="1.npy")
    assert "damaged" in refused(write(tmp_path / "model.skops", array, {"1.npy": header.getvalue()}))


@pytest.mark.parametrize("position", [-1, 625, 2**31])
def test_a_random_state_that_points_outside_its_words_is_refused(tmp_path: Path, position: int) -> None:
    skops.io.dump(np.random.RandomState(0), tmp_path / "state.skops")
    with zipfile.ZipFile(tmp_path / "state.skops") as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name != "schema.json"}
    schema = schema_of(tmp_path / "state.skops")
    schema["content"]["content"]["state"]["content"]["pos"] = value(position)
    assert "damaged" in refused(write(tmp_path / "model.skops", schema, members))


def test_a_name_that_leads_out_of_the_file_is_not_followed(tmp_path: Path) -> None:
    np.save(tmp_path / "secret.npy", np.arange(3))
    array = node("NdArrayNode", "numpy.ndarray", type="numpy", file=str(tmp_path / "secret.npy"))
    assert "damaged" in refused(write(tmp_path / "model.skops", array))
