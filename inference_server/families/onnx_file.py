"""Checks ONNX files before onnxruntime sees them: computing alone, nothing outside the file, nothing hidden in it.

onnxruntime follows paths to external data and runs whatever operators it knows. So the file is walked here as what it
is, protobuf messages of a few kinds, and refused for anything but the tensors, operators and attributes listed below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from inference_server.families.base import ModelUnreadable

MAX_BYTES = 1 << 30
"""Protobuf itself ends at 2 GiB."""

OPERATORS: Mapping[bytes, frozenset[bytes]] = {
    b"": frozenset(
        b"Abs Add And ArgMax AveragePool BatchNormalization Cast CastLike Clip Concat Constant ConstantOfShape Conv"
        b" CumSum Div Dropout Einsum Elu Equal Erf Exp Expand Flatten Gather GatherElements GatherND Gelu Gemm"
        b" GlobalAveragePool Greater GreaterOrEqual HardSigmoid HardSwish Identity InstanceNormalization IsInf IsNaN"
        b" LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max MaxPool Mean Min Mod Mul Neg Not"
        b" OneHot Or PRelu Pad Pow RMSNormalization Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd"
        b" ReduceSum ReduceSumSquare Relu Reshape ScatterElements ScatterND Selu Shape Sigmoid Sign Size Slice Softmax"
        b" Softplus Split Sqrt Squeeze Sub Sum Tanh Tile TopK Transpose Trilu Unsqueeze Where".split()
    ),
    b"ai.onnx.ml": frozenset(
        b"ArrayFeatureExtractor Binarizer FeatureVectorizer Imputer LinearClassifier LinearRegressor Normalizer"
        b" OneHotEncoder SVMClassifier SVMRegressor Scaler TreeEnsemble TreeEnsembleClassifier"
        b" TreeEnsembleRegressor".split()
    ),
}
"""By domain. None of them reads anything but its inputs, and none contains a graph of its own."""

_ORT_FORMAT = b"ORTM"  # at byte 4: onnxruntime's own format, which it would recognize and read unchecked
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}
_LARGEST_KEY = (1 << 32) - 1
_UNNAMED = b"ai.onnx"

Message = memoryview
Visit = Callable[[Message], None]


class _Refused(Exception):  # noqa: N818
    """The text goes on from the file's name."""


def read_onnx(path: Path) -> bytes:
    """The file's bytes, checked: give these to onnxruntime, and not the path. Raises `ModelUnreadable`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelUnreadable(f"{path.name} is larger than {MAX_BYTES} bytes.")
        content = path.read_bytes()
    except OSError as error:
        raise ModelUnreadable(f"{path.name} cannot be read: {error.strerror}.") from error
    try:
        _model(memoryview(content))
    except _Refused as refusal:
        raise ModelUnreadable(f"{path.name} {refusal}; it is refused.") from refusal
    return content


def _model(message: Message) -> None:
    if bytes(message[4:8]) == _ORT_FORMAT:
        raise _Refused("is in onnxruntime's own format, which is not read here")
    graphs = 0

    def graph(content: Message) -> None:
        nonlocal graphs
        graphs += 1
        _graph(content)

    _walk(
        message,
        {
            7: graph,
            8: _operator_set,
            20: partial(_refuse, "holds training steps"),
            25: partial(_refuse, "holds functions of its own"),
        },
    )
    if graphs != 1:
        raise _Refused(f"holds {graphs} graphs instead of one")


def _operator_set(message: Message) -> None:
    def domain(name: Message) -> None:
        if _domain(bytes(name)) not in OPERATORS:
            raise _Refused(f"uses operators of the domain {_shown(name)}, which is not among those allowed")

    _walk(message, {1: domain})


def _graph(message: Message) -> None:
    _walk(message, {1: _node, 5: _tensor, 15: _sparse_tensor})


def _node(message: Message) -> None:
    names = {4: b"", 7: b""}

    def name(field: int, content: Message) -> None:
        names[field] = bytes(content)

    _walk(message, {4: partial(name, 4), 5: _attribute, 7: partial(name, 7)})
    operator, domain = names[4], _domain(names[7])
    if operator not in OPERATORS.get(domain, ()):
        where = f" of the domain {_shown(domain)}" if domain else ""
        raise _Refused(f"uses the operator {_shown(operator)}{where}, which is not among those allowed")


def _attribute(message: Message) -> None:
    within = partial(_refuse, "holds a graph within an operator")
    _walk(message, {5: _tensor, 6: within, 10: _tensor, 11: within, 22: _sparse_tensor, 23: _sparse_tensor})


def _sparse_tensor(message: Message) -> None:
    _walk(message, {1: _tensor, 2: _tensor})


def _tensor(message: Message) -> None:
    outside = partial(_refuse, "keeps tensors in other files")
    _walk(message, {13: outside}, location=14)


def _refuse(why: str, _: Message) -> None:
    raise _Refused(why)


def _domain(name: bytes) -> bytes:
    return b"" if name == _UNNAMED else name


def _shown(name: Message | bytes) -> str:
    return repr(bytes(name[:60]).decode("utf-8", "replace"))


def _walk(message: Message, visits: Mapping[int, Visit], location: int = 0) -> None:
    """Give each field's content to its visit. The field `location` is a number, which must be 0: inside the file."""
    for number, kind, content in _fields(message):
        if number == location and (kind != _VARINT or content != 0):
            raise _Refused("keeps tensors in other files")
        visit = visits.get(number)
        if visit is None:
            continue
        if not isinstance(content, memoryview):
            raise _Refused("is no ONNX file, or a damaged one")
        visit(content)


def _fields(message: Message) -> Iterator[tuple[int, int, int | Message]]:
    """Number, wire type and content of each field, as protobuf writes them."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        if key > _LARGEST_KEY:  # protobuf would cut it off, and see another field than was seen here
            raise _Refused("is no ONNX file, or a damaged one")
        kind = key & 7
        content: int | Message = 0
        if kind == _VARINT:
            content, at = _varint(message, at)
        else:
            size, at = _varint(message, at) if kind == _BYTES else (_SIZES.get(kind, end), at)
            if size > end - at:
                raise _Refused("is no ONNX file, or a damaged one")
            content = message[at : at + size] if kind == _BYTES else 0
            at += size
        yield key >> 3, kind, content


def _varint(message: Message, at: int) -> tuple[int, int]:
    value = shift = 0
    try:
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF, at
            shift += 7
            if shift > 63:
                raise _Refused("is no ONNX file, or a damaged one")
    except IndexError as error:
        raise _Refused("is no ONNX file, or a damaged one") from error
