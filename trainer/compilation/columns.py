"""Columns: what a ColumnTransformer does to numbers and categories, as the first nodes of a graph, in float64."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from inference_server.families.rows import Feature
from trainer.compilation.graphs import NotCompilable
from trainer.compilation.harder import UNSEEN

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Numbers:
    """Columns of numbers: `fill` stands for what is missing, then `mean` is subtracted, and `scale` divided by."""

    positions: tuple[int, ...]
    fill: Floats | None = None
    mean: Floats | None = None
    scale: Floats | None = None

    @classmethod
    def of(cls, transformer: Any, positions: tuple[int, ...]) -> Self:
        """Raises `NotCompilable` unless it is an imputer, a scaler, or one after the other."""
        found: dict[str, Any] = {}
        for step in _steps(transformer):
            match type(step).__name__:
                case "SimpleImputer" if not found and not step.add_indicator:
                    found["fill"] = np.asarray(step.statistics_, dtype=np.float64)
                case "StandardScaler" if "mean" not in found:
                    found |= {"mean": step.mean_, "scale": step.scale_}
                case name:
                    raise NotCompilable(f"The model's numbers pass a {name}, for which no graph is known here.")
        if np.isnan(found.get("fill", 0)).any():
            raise NotCompilable("The model leaves out a column of numbers that was empty when it was trained.")
        return cls(positions, **found)

    @property
    def width(self) -> int:
        return len(self.positions)

    def nodes(self, graph: _Nodes) -> str:
        values = graph.columns(self.positions)
        if self.fill is not None:
            values = graph.add("Where", graph.add("IsNaN", values), graph.constant(self.fill), values)
        if self.mean is not None:
            values = graph.add("Sub", values, graph.constant(self.mean))
        return values if self.scale is None else graph.add("Div", values, graph.constant(self.scale))


@dataclass(frozen=True)
class Category:
    """One column. In `table` is what scikit-learn makes of each category, then of an unseen, of a missing one."""

    position: int
    categories: tuple[str, ...]
    table: Floats

    @property
    def width(self) -> int:
        return int(self.table.shape[1])

    def nodes(self, graph: _Nodes) -> str:
        missing = graph.constant(np.array(len(self.categories) + 1, dtype=np.float64))
        number = graph.columns(self.position)
        known = graph.add("Where", graph.add("IsNaN", number), missing, number)
        return graph.add("Gather", graph.constant(self.table), graph.add("Cast", known, to=TensorProto.INT64), axis=0)


@dataclass(frozen=True)
class Columns:
    """All parts, in the order in which the estimator reads them."""

    features: tuple[Feature, ...]
    parts: tuple[Numbers | Category, ...]

    @classmethod
    def plain(cls, features: Sequence[Feature]) -> Self:
        return cls(tuple(features), (Numbers(tuple(range(len(features)))),))

    @classmethod
    def of(cls, branches: Sequence[tuple[Any, tuple[int, ...]]], features: Sequence[Feature]) -> Self:
        parts: list[Numbers | Category] = []
        for transformer, positions in branches:
            if features[positions[0]].kind == "category":
                parts += _categories(transformer, positions)
            else:
                parts.append(Numbers.of(transformer, positions))
        return cls(tuple(features), tuple(parts))

    @property
    def width(self) -> int:
        return sum(part.width for part in self.parts)

    def inputs(self) -> Mapping[str, Any]:
        """What the card says of the graph's inputs."""
        found = {part.position: list(part.categories) for part in self.parts if isinstance(part, Category)}
        names = {
            feature.name: found.get(i, []) for i, feature in enumerate(self.features) if feature.kind == "category"
        }
        return {"categories": names} if names else {}

    def graph(self, before: ModelProto, in_float32: bool) -> ModelProto:
        """From `rows` to `matrix`, to be put before the graph `before`, with its versions."""
        nodes = _Nodes(len(self.features))
        parts = [part.nodes(nodes) for part in self.parts]
        whole = parts[0] if len(parts) == 1 else nodes.add("Concat", *parts, axis=1)
        kind = TensorProto.FLOAT if in_float32 else TensorProto.DOUBLE
        nodes.add("Cast", whole, to=kind, name="matrix")
        rows = helper.make_tensor_value_info("rows", TensorProto.DOUBLE, ["n", len(self.features)])
        return nodes.model(rows, helper.make_tensor_value_info("matrix", kind, ["n", self.width]), before)


def rescaling(scaler: Any, after: ModelProto) -> ModelProto:
    """From `scaled` to `number`: what a fitted StandardScaler did to a target, undone, with the versions of `after`."""
    if type(scaler).__name__ != "StandardScaler":
        raise NotCompilable(f"The model's target passes a {type(scaler).__name__}, for which no graph is known here.")
    kind = after.graph.output[0].type.tensor_type.elem_type
    nodes = _Nodes()
    number = nodes.add("Cast", "scaled", to=TensorProto.DOUBLE)
    if scaler.scale_ is not None:
        number = nodes.add("Mul", number, nodes.constant(scaler.scale_))
    if scaler.mean_ is not None:
        number = nodes.add("Add", number, nodes.constant(scaler.mean_))
    nodes.add("Identity", number, name="number")
    scaled = helper.make_tensor_value_info("scaled", kind, ["n", 1])
    return nodes.model(scaled, helper.make_tensor_value_info("number", TensorProto.DOUBLE, ["n", 1]), after)


class _Nodes:
    """Nodes and constants of a graph in the making; each node has one output, by whose name it is known."""

    def __init__(self, width: int = 1) -> None:
        self._width = width
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def columns(self, positions: int | tuple[int, ...]) -> str:
        """Of `rows`: one as a vector, several as a matrix, all of them as they are."""
        if positions == tuple(range(self._width)):
            return "rows"
        return self.add("Gather", "rows", self.constant(np.array(positions)), axis=1)

    def constant(self, value: npt.NDArray[Any]) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def model(self, given: Any, made: Any, like: ModelProto) -> ModelProto:
        graph = helper.make_graph(self._nodes, "columns", [given], [made], self._constants)
        return helper.make_model(graph, opset_imports=like.opset_import, ir_version=like.ir_version)


def _steps(transformer: Any) -> list[Any]:
    return [step for _, step in transformer.steps] if hasattr(transformer, "steps") else [transformer]


def _categories(transformer: Any, positions: tuple[int, ...]) -> Iterator[Category]:
    """Each column of the branch by itself, as an encoder works on each by itself."""
    encoder = _steps(transformer)[-1]
    if type(encoder).__name__ != "OneHotEncoder":
        raise NotCompilable(
            f"The model's categories pass a {type(encoder).__name__}, for which no graph is known here."
        )
    owners = [name.split("_", 1)[0] for name in encoder.get_feature_names_out([str(p) for p in positions])]
    for index, position in enumerate(positions):
        categories = tuple(category for category in encoder.categories_[index] if isinstance(category, str))
        rows = np.full((len(categories) + 2, len(positions)), np.nan, dtype=object)
        rows[:, index] = [*categories, UNSEEN, np.nan]
        own = [column for column, owner in enumerate(owners) if owner == str(position)]
        yield Category(position, categories, _dense(transformer.transform(rows))[:, own])


def _dense(matrix: Any) -> Floats:
    return np.asarray(matrix if isinstance(matrix, np.ndarray) else matrix.toarray(), dtype=np.float64)
