"""Hostile ONNX files: none of them reads a file, brings code of its own, or is more than refused in a sentence."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from inference_server.families.base import CompiledUnusable, ModelUnreadable
from inference_server.families.graph import Graph
from inference_server.families.onnx_file import OPERATORS, read_onnx

ROWS = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 2])
OUT = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 2])


def model(*nodes: Any, tensors: Any = (), domain: str = "", **fields: Any) -> ModelProto:
    nodes = nodes or (helper.make_node("Add", ["rows", "one"], ["out"]),)
    graph = helper.make_graph(nodes, "g", [ROWS], [OUT], tensors or [one()])
    versions = [helper.make_opsetid("", 20), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=versions, ir_version=10, **fields)


def one() -> TensorProto:
    return numpy_helper.from_array(np.ones(2, dtype=np.float32), "one")


def outside(path: str) -> TensorProto:
    tensor = TensorProto(name="one", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=path)
    return tensor


def written(folder: Path, content: ModelProto | bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return path


def branch() -> Any:
    inner = helper.make_graph([helper.make_node("Identity", ["rows"], ["o"])], "inner", [], [OUT])
    return helper.make_node("Add", ["rows", "one"], ["out"], then_branch=inner)


def function() -> ModelProto:
    body, versions = [helper.make_node("Neg", ["a"], ["b"])], [helper.make_opsetid("", 20)]
    made = helper.make_function("", "Add", ["a"], ["b"], body, versions)
    return model(functions=[made])


def sparse() -> ModelProto:
    made = model()
    tensor = made.graph.sparse_initializer.add()
    tensor.values.CopyFrom(outside("/etc/passwd"))
    return made


def location_alone() -> ModelProto:
    tensor = one()
    tensor.data_location = TensorProto.EXTERNAL
    return model(tensors=[tensor])


def training() -> ModelProto:
    made = model()
    made.training_info.add().algorithm.CopyFrom(made.graph)
    return made


def twice() -> bytes:
    return model().SerializeToString() * 2


def cut_key() -> bytes:
    """Field 13 (external data) of a tensor under a number that protobuf would cut to it, were it not refused."""
    return bytes([0xFA, 0xFF, 0xFF, 0xFF, 0xFF, 0x01, 0]) + model().SerializeToString()


HOSTILE: dict[str, tuple[Callable[[], ModelProto | bytes], str]] = {
    "external data": (lambda: model(tensors=[outside("/etc/passwd")]), "keeps tensors in other files"),
    "external data beside it": (lambda: model(tensors=[outside("../secret")]), "keeps tensors in other files"),
    "external without a path": (location_alone, "keeps tensors in other files"),
    "external in an attribute": (
        lambda: model(helper.make_node("Constant", [], ["out"], value=outside("/etc/passwd"))),
        "keeps tensors in other files",
    ),
    "external in a sparse tensor": (sparse, "keeps tensors in other files"),
    "a custom domain": (
        lambda: model(helper.make_node("Run", ["rows"], ["out"], domain="evil"), domain="evil"),
        "the domain 'evil'",
    ),
    "an unused custom domain": (lambda: model(domain="com.microsoft"), "the domain 'com.microsoft'"),
    "an undeclared custom domain": (
        lambda: model(helper.make_node("Run", ["rows"], ["out"], domain="evil")),
        "the operator 'Run' of the domain 'evil'",
    ),
    "an unlisted operator": (lambda: model(helper.make_node("Loop", ["rows"], ["out"])), "the operator 'Loop'"),
    "a graph within": (lambda: model(branch()), "a graph within an operator"),
    "a function": (function, "functions of its own"),
    "training": (training, "training steps"),
    "two graphs": (twice, "2 graphs"),
    "no graph": (lambda: b"", "0 graphs"),
    "a pickle": (lambda: b"\x80\x04\x95\x10\x00\x00\x00", "damaged"),
    "onnxruntime's format": (lambda: b"\x00\x00\x00\x00ORTM" + b"\x00" * 32, "onnxruntime's own format"),
    "a number that is cut": (cut_key, "damaged"),
    "an endless number": (lambda: b"\xff" * 40, "damaged"),
    "cut short": (lambda: model().SerializeToString()[:-5], "damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    make, why = HOSTILE[name]
    with pytest.raises(ModelUnreadable, match=why) as caught:
        Graph.load(written(tmp_path, make()).parent)
    assert str(caught.value).startswith("model.onnx ")


def test_a_file_that_is_too_large_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnreadable, match="cannot be read: No such file"):
        read_onnx(tmp_path / "model.onnx")
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(ModelUnreadable, match="is larger than"):
        read_onnx(tmp_path / "model.onnx")


def test_a_good_file_is_read_and_computed(tmp_path: Path) -> None:
    graph = Graph.load(written(tmp_path, model()).parent, threads=1)
    np.testing.assert_array_equal(graph(np.zeros((3, 2), dtype=np.float32)), np.ones((3, 2)))


def test_a_graph_of_good_operators_that_do_not_fit_together_is_unusable_and_no_crash(tmp_path: Path) -> None:
    with pytest.raises(CompiledUnusable, match="onnxruntime cannot load"):
        Graph.load(written(tmp_path, model(helper.make_node("Add", ["rows"], ["out"]))).parent)


def test_every_listed_operator_is_one_of_onnx(tmp_path: Path) -> None:
    known = {(schema.domain, schema.name) for schema in onnx.defs.get_all_schemas_with_history()}
    listed = {(domain.decode(), name.decode()) for domain, names in OPERATORS.items() for name in names}
    assert listed <= known
    takes_graphs = {
        (schema.domain, schema.name)
        for schema in onnx.defs.get_all_schemas()
        if any(attribute.type.name.startswith("GRAPH") for attribute in schema.attributes.values())
    }
    assert not listed & takes_graphs


def test_no_damage_of_a_good_file_is_more_than_refused(tmp_path: Path) -> None:
    """Every byte may be any other: the file is read, refused, or unusable."""
    chance, good = random.Random(0), bytearray(model().SerializeToString())
    for _ in range(400):
        damaged = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            damaged[chance.randrange(len(good))] = chance.randrange(256)
        with contextlib.suppress(ModelUnreadable, CompiledUnusable):
            Graph.load(written(tmp_path, bytes(damaged)).parent, threads=1)
