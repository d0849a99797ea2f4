"""Hostile ONNX files, inputs and commands: seeded cases for the runtime and ``python -m export``.

Each check takes a seed and a folder to write to, makes one case and asserts what is promised:
an answer or one line, a ``ModelError`` with the file's name. ``CHECKS`` names them all.
"""

import contextlib
import functools
import io
import json
import os
import random
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper, parser

from export import runtime
from export.cli import main
from export.runtime import ModelError, load

FILES = Path(__file__).parents[2] / "results" / "onnx"
SPELLER, CLASSIFIER = FILES / "p2g_attention.onnx", FILES / "kmnist_cnn.onnx"
CONTROLS = "\n\r\x1b\x07\x9b\u202e\u2028"

TINY = """
<ir_version: 10, opset_import: ["" : 20, "ai.onnx.ml" : 4]>
tiny (uint8[N, 2, 2, 1] image) => (string[N] label, float[N, 2] probabilities)
<int64[2] shape = {-1, 4}, float[4, 2] kernel = {0.5, 0.25, 1.0, -1.0, 0.0, 0.5, 2.0, 1.0},
 int64 rounds = {3}, bool yes = {1}, float one = {1.0}>
{
    pixels = Cast <to = 1> (image)
    flat = Reshape (pixels, shape)
    logits = MatMul (flat, kernel)
    last = Loop (rounds, yes, logits) <
        body = add (int64 i, bool going, float[N, 2] before) => (bool go_on, float[N, 2] after)
        { go_on = Identity (going) after = Add (before, one) }
    >
    probabilities = Softmax (last)
    number = ArgMax <axis = 1, keepdims = 0> (probabilities)
    label = ai.onnx.ml.LabelEncoder <keys_int64s = [0, 1], values_strings = ["a", "b"]> (number)
}
"""


@functools.cache
def tiny() -> bytes:
    """A classifier of 2 x 2 pixels with a loop, about 1 kB."""
    model = parser.parse_model(TINY)
    add_facts(model, {"kind": "classifier", "experiment": "tiny", "labels": ["a", "b"]})
    return model.SerializeToString()


@functools.cache
def hollow() -> bytes:
    """The committed speller with all its structure and next to none of its weights."""
    model = onnx.load(SPELLER)
    for tensor in model.graph.initializer:
        tensor.raw_data = tensor.raw_data[:8]
    return model.SerializeToString()


def add_facts(model: onnx.ModelProto, facts: dict[str, object]) -> None:
    del model.metadata_props[:]
    for key, value in facts.items():
        model.metadata_props.add(key=f"hw2.{key}", value=json.dumps(value, ensure_ascii=False))


def facts_of(model: onnx.ModelProto) -> dict[str, object]:
    return {p.key.removeprefix("hw2."): json.loads(p.value) for p in model.metadata_props}


# --- bytes ---------------------------------------------------------------------------------------


def fields(content: bytes) -> list[tuple[int, int, int, int, int]]:
    """(start, start of the value, end, tag, depth) of all fields that hold messages or values."""
    found = []

    def walk(start: int, end: int, name: str, depth: int) -> None:
        position = start
        while position < end:
            tag, after = runtime._varint(content, position, end)
            kind = runtime._FIELDS[name][tag >> 3][0]
            if tag & 7 == 2:
                size, value = runtime._varint(content, after, end)
            else:
                value = after
                size = runtime._varint(content, after, end)[1] - after if tag & 7 == 0 else 4
            found.append((position, value, value + size, tag, depth))
            if kind in runtime._FIELDS:
                walk(value, value + size, kind, depth + 1)
            position = value + size

    walk(0, len(content), "Model", 0)
    return found


def varint(value: int, least: int = 1) -> bytes:
    """A number, in more bytes than it needs where ``least`` asks for them."""
    codes = []
    while value >= 0x80 or len(codes) + 1 < least:
        codes.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*codes, value])


def nested(content: bytes, start: int, end: int, new: bytes) -> bytes:
    """``content`` with other bytes from ``start`` to ``end``, all lengths around them corrected."""
    around = [f for f in fields(content) if f[3] & 7 == 2 and f[1] <= start < f[2] >= end]
    for field_start, value, value_end, tag, _ in sorted(around, key=lambda f: -f[4]):
        new = content[value:start] + new + content[end:value_end]
        new = varint(tag) + varint(len(new)) + new
        start, end = field_start, value_end
    return content[:start] + new + content[end:]


def flip(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    return bytes(damaged)


def cut(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.choice((1, 2, 8, len(content))) :]


def grow(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + rng.randbytes(rng.randrange(1, 12)) + content[start:]


def high_tag(content: bytes, rng: random.Random) -> bytes:
    """A tag with bit 32 set: what onnxruntime once read as the field, and others as unknown."""
    start, _, end, tag, _ = rng.choice(fields(content))
    after = start + len(varint(tag))
    return nested(
        content, start, end, varint(tag | 1 << rng.randrange(32, 64)) + content[after:end]
    )


def long_varint(content: bytes, rng: random.Random) -> bytes:
    start, _, end, tag, _ = rng.choice(fields(content))
    after = start + len(varint(tag))
    extra = varint(tag, least=rng.randrange(len(varint(tag)) + 1, 11))
    return nested(content, start, end, extra + content[after:end])


def again(content: bytes, rng: random.Random) -> bytes:
    """A field once more, behind itself."""
    start, _, end, _, _ = rng.choice(fields(content))
    return nested(content, start, end, 2 * content[start:end])


def elsewhere(content: bytes, rng: random.Random) -> bytes:
    """A field of one message in another."""
    start, _, end, _, _ = rng.choice(fields(content))
    place, _, _, _, _ = rng.choice(fields(content))
    return nested(content, place, place, content[start:end])


def other_wire_type(content: bytes, rng: random.Random) -> bytes:
    start, value, end, tag, _ = rng.choice(fields(content))
    wire = rng.choice([w for w in range(6) if w != tag & 7])
    return nested(content, start, end, varint(tag & ~7 | wire) + content[value:end])


def group(content: bytes, rng: random.Random) -> bytes:
    start, value, end, tag, _ = rng.choice(fields(content))
    inside = content[value:end] if tag & 7 == 2 else content[start:end]
    number = tag & ~7
    return nested(content, start, end, varint(number | 3) + inside + varint(number | 4))


def unknown(content: bytes, rng: random.Random) -> bytes:
    start, _, _, _, _ = rng.choice(fields(content))
    number = rng.choice((0, 17, 19, 21, 27, 99, 2**29 - 1))
    return nested(content, start, start, varint(number << 3 | 2) + b"\x02ab")


def merged(content: bytes, rng: random.Random) -> bytes:
    """Two messages in one: protocol buffers merge them."""
    other = onnx.ModelProto()
    other.graph.node.add(op_type="Neg", domain="com.microsoft", input=["x"], output=["y"])
    return content + rng.choice((other.SerializeToString(), content))


def big_number(content: bytes, rng: random.Random) -> bytes:
    numbers = [f for f in fields(content) if f[3] & 7 == 0]
    _, value, end, _, _ = rng.choice(numbers)
    new = rng.choice((2**31, 2**32 + 1, 2**63, 2**64 - 1, rng.getrandbits(64)))
    return nested(content, value, end, varint(new))


MUTATIONS = (flip, flip, flip, cut, grow, high_tag, long_varint, again, elsewhere)
MUTATIONS += (other_wire_type, group, unknown, merged, big_number)


def seen_alike(content: bytes) -> bool:
    """Whether the gate accepts a file; then onnx must see the same, field for field."""
    try:
        runtime.inspect(content, Path("case.onnx"))
    except ModelError as error:
        assert "\n" not in str(error) and "case.onnx" in str(error)
        return False
    try:
        other = onnx.ModelProto.FromString(content).SerializeToString()
    except DecodeError as error:
        raise AssertionError("accepted, and onnx cannot read it") from error
    ours, theirs = (tree(each) for each in (content, other))
    assert ours == theirs, "accepted, and onnx sees another model"
    return True


def tree(content: bytes) -> dict:
    return without_wide(runtime._Parser(content).message("Model", 0, len(content)))


def without_wide(message: dict) -> dict:
    """Packed int32 come back from onnx in 32 bits; nothing in a file's checks reads them."""
    result = {}
    for field, values in message.items():
        if field == 5 and all(isinstance(v, bytes) for v in values):
            values = [(runtime._numbers(b"".join(values)) & 0xFFFFFFFF).tolist()]
        result[field] = [without_wide(v) if isinstance(v, dict) else v for v in values]
    return result


def check_bytes(seed: int, folder: Path) -> None:
    """A mutated file is refused, or onnx's own parser sees the same model."""
    rng = random.Random(seed)
    content = tiny() if rng.random() < 0.7 else hollow()
    mutated = rng.choice(MUTATIONS)(content, rng)
    if seen_alike(mutated) and content is tiny():
        path = folder / f"bytes{seed}.onnx"
        path.write_bytes(mutated)
        with one_line(path):
            load(path)(np.zeros((2, 2, 2, 1), np.uint8))


# --- what a file must not do ---------------------------------------------------------------------


def all_graphs(model: onnx.ModelProto) -> list[onnx.GraphProto]:
    found, waiting = [], [model.graph]
    while waiting:
        found.append(graph := waiting.pop())
        waiting += [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return found


def foreign_node(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(rng.choice(all_graphs(model)).node)
    node.domain = rng.choice(("com.microsoft", "ai.onnx.preview.training", "Ai.onnx", "x" * 99))


def foreign_opset(model: onnx.ModelProto, rng: random.Random) -> None:
    model.opset_import.add(domain=rng.choice(("com.microsoft", "ai.onnx.training")), version=1)


def local_function(model: onnx.ModelProto, rng: random.Random) -> None:
    model.functions.add(name="Relu", domain=rng.choice(("", "ai.onnx", "local")))


def training(model: onnx.ModelProto, rng: random.Random) -> None:
    model.training_info.add().algorithm.name = "a"


def tensor_of(model: onnx.ModelProto, rng: random.Random) -> TensorProto:
    """A tensor in one of the places that a model has for them."""
    graph = rng.choice(all_graphs(model))
    attribute = rng.choice(graph.node).attribute.add(name="more")
    place = rng.randrange(7)
    if place == 0:
        return graph.initializer.add(name="w")
    if place in (1, 2):
        sparse = graph.sparse_initializer.add()
        return sparse.values if place == 1 else sparse.indices
    attribute.type = (0, 0, 0, 4, 9, 11, 12)[place]
    if place == 3:
        return attribute.t
    if place == 4:
        return attribute.tensors.add()
    return attribute.sparse_tensor.values if place == 5 else attribute.sparse_tensors.add().values


def external(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = tensor_of(model, rng)
    if rng.random() < 0.5:
        tensor.data_location = TensorProto.EXTERNAL
    if rng.random() < 0.7 or not tensor.data_location:
        where = rng.choice(("secret", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"))
        tensor.external_data.add(key="location", value=where)


ENDLESS = {
    "no count": "out = Loop ({none}, yes, x) <body = {body}>",
    "huge count": "n = Constant <value = int64 {9223372036854775807}> () "
    "out = Loop (n, yes, x) <body = {body}>",
    "counted by a product": "n = Mul (big, big) out = Loop (n, yes, x) <body = {body}>",
    "counted by an empty shape": "sizes = Constant <value = int64[2] {0, 3000000}> () "
    "e = ConstantOfShape (sizes) s = Size (e) k = Shape <start = 1> (e) "
    "n = Squeeze (k) out = Loop (n, yes, x) <body = {body}>",
    "counted by an empty reduction": "sizes = Constant <value = int64[1] {0}> () "
    "e = ConstantOfShape <value = int64[1] {0}> (sizes) n = ReduceMin <keepdims = 0> (e) "
    "out = Loop (n, yes, x) <body = {body}>",
    "a cast of -1": "m = Constant <value = int64 {-1}> () u = Cast <to = 12> (m) "
    "n = Cast <to = 7> (u) out = Loop (n, yes, x) <body = {body}>",
    "counted by what a source holds": "k = Cast <to = 7> (x) n = Squeeze (k) "
    "out = Loop (n, yes, x) <body = {body}>",
    "loops in loops": "out = Loop (big, yes, x) <body = b1 (int64 i1, bool c1, float[N] v1) "
    "=> (bool d1, float[N] w1) { d1 = Identity (c1) w1 = Loop (big, yes, v1) <body = b2 "
    "(int64 i2, bool c2, float[N] v2) => (bool d2, float[N] w2) { d2 = Identity (c2) "
    "w2 = Loop (big, yes, v2) <body = {body}> }> }>",
}
BODY = "b (int64 i, bool c, float[N] v) => (bool d, float[N] w) { d = Identity (c) w = Neg (v) }"


# What a text is written from: {start}, and the body of a loop that is run 40 times.
GROWING = {
    "joined to itself": "w = StringConcat (v, v)",
    "joined to itself by another name": "u = StringConcat (v, a) w = StringConcat (u, v)",
    "joined to itself in an If": "w = If (c) <then_branch = t () => (string[M] y) "
    "{ y = StringConcat (v, v) }, else_branch = e () => (string[M] z) { z = Identity (v) }>",
    "joined to itself through a loop": "w = Loop (few, c, v) <body = b2 "
    "(int64 i2, bool c2, string[M] v2) => (bool d2, string[M] w2) { d2 = Identity (c2) "
    "w2 = StringConcat (v2, v) }>",
    "collected": "w = Loop (few, c, v) <body = b2 (int64 i2, bool c2, string[M] v2) => "
    "(bool d2, string[M] w2, string[M] s2) { d2 = Identity (c2) w2 = Identity (v2) "
    "s2 = Identity (v2) }>",
    "twice as many": "w = Concat <axis = 0> (v, v)",
    "twice as many tiles": "two = Constant <value = int64[1] {2}> () w = Tile (v, two)",
    "a part twice as many": "p = Slice (v, from, to) q = Identity (p) w = Concat <axis = 0> (q, v)",
    "long": "w = StringConcat (v, long)",
    "very long": "w = StringConcat (v, longest)",
    "appended too often": "w = Loop (few, c, v) <body = b2 (int64 i2, bool c2, string[M] v2) => "
    "(bool d2, string[M] w2) { d2 = Identity (c2) w2 = StringConcat (v2, middle) }>",
}
TEXTS = {"a": "a", "middle": "m" * 500, "long": "l" * 4000, "longest": "L" * 5000}

# Values of many axes, which onnxruntime would follow while it opens a file.
AXES = {
    "a length by Identity": "<int64[1] size = {50000000}> { n = Identity (size) "
    "shape = ConstantOfShape <value = int64[1] {1}> (n) out = Expand (x, shape) }",
    "a length by Mul": "<int64[1] size = {7000}, int64[1] by = {7000}> { n = Mul (size, by) "
    "shape = ConstantOfShape <value = int64[1] {1}> (n) out = Reshape (x, shape) }",
    "a length by Reshape": "<int64 size = {50000000}, int64[1] one = {1}> "
    "{ n = Reshape (size, one) shape = ConstantOfShape <value = int64[1] {1}> (n) "
    "out = Expand (x, shape) }",
    "a length by Size": "<int64[1] size = {50000000}, int64[1] axis = {0}> "
    "{ e = ConstantOfShape (size) s = Size (e) n = Unsqueeze (s, axis) "
    "shape = ConstantOfShape <value = int64[1] {1}> (n) out = Expand (x, shape) }",
    "a length by Concat": "<int64[1] size = {40}> "
    "{ half = ConstantOfShape <value = int64[1] {1}> (size) "
    "shape = Concat <axis = 0> (half, half) out = Expand (x, shape) }",
    "axes by Unsqueeze": "<int64[1] size = {50000000}> "
    "{ axes = ConstantOfShape <value = int64[1] {1}> (size) out = Unsqueeze (x, axes) }",
    "axes by Gather": "<int64[1, 1] y0 = {0}> { "
    + " ".join(f"y{n + 1} = Gather (y{n}, y{n})" for n in range(24))
    + " out = Identity (y24) }",
    "axes by Einsum": '{ out = Einsum <equation = "a->' + "a" * 70 + '"> (x) }',
}


def endless(rng: random.Random) -> bytes:
    """A file whose graph would not end, or not today."""
    statements = ENDLESS[rng.choice(sorted(ENDLESS))]
    return graph_of(statements.replace("{none}", "").replace("{body}", BODY))


def growing(rng: random.Random) -> bytes:
    """A file whose graph would fill the memory with texts."""
    statements = GROWING[rng.choice(sorted(GROWING))]
    outputs = "w, s" if "s2" in statements else "w"
    statements = statements.replace("w = Loop", f"{outputs} = Loop")
    return graph_of(
        "texts = Loop (times, yes, a) <body = b (int64 i, bool c, string[M] v) => "
        f"(bool d, string[M] w) {{ d = Identity (c) {statements} }}> out = Identity (x)"
    )


def many_axes(rng: random.Random) -> bytes:
    """A file with a value of so many axes that reading it takes seconds and gigabytes."""
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[N] x) => (float[N] out) '
        + AXES[rng.choice(sorted(AXES))]
    )
    add_facts(model, {"kind": "classifier", "labels": ["a"]})
    return model.SerializeToString()


def graph_of(statements: str) -> bytes:
    used = {name: text for name, text in TEXTS.items() if f"{name})" in statements or name == "a"}
    texts = ", ".join(f'string[1] {name} = {{"{text}"}}' for name, text in used.items())
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[N] x) => (float[N] out) '
        "<bool yes = {1}, int64 big = {4000}, int64 times = {2000}, int64 few = {400}, "
        f"int64[1] from = {{0}}, int64[1] to = {{1}}, {texts}> {{ {statements} }}"
    )
    add_facts(model, {"kind": "classifier", "labels": ["a"]})
    return model.SerializeToString()


def ort_format(rng: random.Random) -> bytes:
    """A protocol buffer that onnxruntime would take for a flatbuffer of its own."""
    name = b"\x12\x10" + rng.randbytes(2).translate(bytes(b & 0x7F for b in range(256)))
    return name + b"ORTM" + b"a" * 10 + tiny()


def sparse(model: onnx.ModelProto, rng: random.Random) -> None:
    """A tensor of a thousand million zeros, or a value of that type."""
    zeros = helper.make_sparse_tensor(
        helper.make_tensor("zeros", TensorProto.FLOAT, [1], [0.0]),
        helper.make_tensor("places", TensorProto.INT64, [1], [0]),
        [10**9],
    )
    graph = rng.choice(all_graphs(model))
    place = rng.randrange(3)
    if place == 0:
        graph.sparse_initializer.append(zeros)
    elif place == 1:
        graph.node.insert(0, helper.make_node("Constant", [], ["zeros"], sparse_value=zeros))
    else:
        graph.value_info.append(helper.make_sparse_tensor_value_info("zeros", 1, [10**9]))


FORBIDDEN = (foreign_node, foreign_opset, local_function, training, external, external, sparse)


def check_forbidden(seed: int, folder: Path) -> None:
    """What a file must not do is refused, wherever it stands."""
    rng = random.Random(seed)
    kind = rng.random()
    if kind < 0.3:
        content = rng.choice((endless, growing, many_axes))(rng)
    else:
        model = onnx.load_from_string(rng.choice((tiny, hollow))())
        rng.choice(FORBIDDEN)(model, rng)
        content = model.SerializeToString()
    path = folder / f"forbidden{seed}.onnx"
    path.write_bytes(content)
    assert not seen_alike(content)
    with one_line(path) as told:
        load(path)
    assert told


@contextlib.contextmanager
def one_line(*names: object):
    """Lets a ``ModelError`` of one printable line through, nothing else; the list holds it."""
    told: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield told
    except ModelError as error:
        told.append(str(error))
        assert not set(CONTROLS) & set(told[0]), told
        told[0].encode()
        for name in names:
            assert str(name) in told[0], (name, told)


# --- metadata, inputs and outputs ----------------------------------------------------------------

VALUES = [None, True, 0, -1, 1.5, 10**9, float("nan"), float("inf"), "", "x", "a\x1b[31mb\nc"]
VALUES += [[], [1], ["a", None], ["a"] * 10, [[]], {}, {"a": 1}, {"target": 0}, {"target": "9"}]
VALUES += ["\ud800", ["\udfff"], {"\ud800": 1}, 10**400, "é" * 1000, "__proto__", [{"a": [1]}]]


def check_metadata(seed: int, folder: Path) -> None:
    """Facts of any type: the file is refused, or runs and can be printed."""
    rng = random.Random(seed)
    model = onnx.load_from_string(rng.choice((tiny(), SPELLER.read_bytes())))
    facts = facts_of(model)
    for _ in range(rng.choice((1, 1, 2, 4))):
        key = rng.choice(sorted({*facts, *runtime.FACTS}))
        if rng.random() < 0.2:
            facts.pop(key, None)
        else:
            facts[key] = rng.choice(VALUES)
    del model.metadata_props[:]
    for key, value in facts.items():
        model.metadata_props.add(key=f"hw2.{key}", value=json.dumps(value))
    if rng.random() < 0.2:
        broken = rng.choice(("{", "nul", "[" * 10**5, "9" * 5000, '"\t"', ""))
        rng.choice(model.metadata_props).value = broken
    path = folder / f"metadata{seed}.onnx"
    path.write_bytes(model.SerializeToString())
    with one_line(path):
        answer(load(path))
    check_command(["info", str(path)])


def answer(model: runtime.Model) -> object:
    """One answer for an input that fits what the model says it takes."""
    if isinstance(model, runtime.Classifier):
        return model(np.zeros((1, *model.image_shape), np.uint8))
    return model("k æ t", num_beams=2, max_length=3)


def check_signature(seed: int, folder: Path) -> None:
    """Inputs and outputs of other names, types and ranks; graphs that fail when they run."""
    rng = random.Random(seed)
    model = onnx.load_from_string(rng.choice((tiny(), SPELLER.read_bytes())))
    graph = model.graph
    change = rng.randrange(6)
    value = rng.choice([*graph.input, *graph.output])
    if change == 0:
        value.type.tensor_type.elem_type = rng.choice((1, 2, 6, 7, 8, 9, 11, 16))
    elif change == 1:
        dims = value.type.tensor_type.shape.dim
        if rng.random() < 0.5 or not dims:
            dims.add().dim_value = rng.choice((1, 2, 10**9, 0))
        else:
            del dims[-1]
    elif change == 2:
        value.name = rng.choice(("", "x", "image ", "text\x1b[31m"))
    elif change == 3:
        values = rng.choice((graph.input, graph.output))
        del values[rng.randrange(len(values))]
    elif change == 4:
        weight = rng.choice(graph.initializer)
        array = numpy_helper.to_array(weight)
        shape = tuple(rng.choice((0, 1, size, size + 1)) for size in array.shape)
        weight.CopyFrom(numpy_helper.from_array(np.resize(array, shape), weight.name))
    else:
        value.type.CopyFrom(helper.make_sequence_type_proto(value.type))
    path = folder / f"signature{seed}.onnx"
    path.write_bytes(model.SerializeToString())
    with one_line(path):
        answer(load(path))


# --- what a caller gives -------------------------------------------------------------------------

SOURCES = ["k æ t", "", " ", "\ud800", "k \x00 æ", "☃", "g", "a " * 3000, None, 7, b"k", ["k", 1]]
SOURCES += [np.zeros((2, 2)), [], "d\u0361ʒ : ' g", "k\n\x1b[31m", ["k æ", "t" * 500], {"k": 1}]
NUMBERS = [1, 2, 0, -1, 10**5, 10**30, 1.5, None, True, "3", float("nan"), np.int64(3)]
IMAGES = [None, [], 3, "x", np.zeros((28, 28)), np.zeros((2, 28, 28), np.uint8)]
IMAGES += [np.zeros((1, 28, 28, 3), np.uint8), np.full((28, 28, 1), np.nan), [[1], [1, 2]]]
IMAGES += [np.zeros((0, 28, 28, 1), np.uint8), np.array("x"), np.zeros((28, 28), object)]


@functools.cache
def opened(path: Path) -> runtime.Model:
    return load(path)


def check_call(seed: int, folder: Path) -> None:
    """Arguments of any type and size."""
    rng = random.Random(seed)
    if rng.random() < 0.3:
        model = opened(CLASSIFIER)
        call = rng.choice((model, model.probabilities))
        with one_line():
            call(rng.choice(IMAGES), **rng.choice(({}, {"batch_size": rng.choice(NUMBERS)})))
        return
    names = ("num_beams", "n_best", "max_length", "batch_size")
    given = {name: rng.choice(NUMBERS) for name in rng.sample(names, rng.randrange(4))}
    with one_line():
        opened(SPELLER)(rng.choice(SOURCES), **given)


# --- commands and pictures -----------------------------------------------------------------------

WORDS = [
    "run",
    "info",
    "verify",
    "convert",
    "quantize",
    "web",
    "nothing",
    "--help=1",
    "-o",
    "--run",
]
WORDS += ["--num-beams", "--n-best", "--top-p", "--seed", "--search", "--length-penalty", "--out"]
WORDS += ["100000", "-1", "nan", "1e-300", "9" * 5000, "beam", "nucleus", "k æ t", "d ɔ g"]
WORDS += [str(SPELLER), str(CLASSIFIER), "picture.png", "a\nb.onnx", "x.onnx/", "n" * 300 + ".onnx"]
WORDS += ["/proc/self/mem", "/dev/null", "/", ".", "", "~nosuchuser/x.onnx", "\udcff", "\x1b[31m"]
WORDS += ["/proc/x.onnx", "loop.onnx", "none/x.onnx", "--", "x.onnx", "bomb.png", "half.png"]


def check_commands(seed: int, folder: Path) -> None:
    """Any words on the command line."""
    rng = random.Random(seed)
    make_pictures(folder)
    words = [rng.choice(WORDS) for _ in range(rng.randrange(1, 6))]
    if rng.random() < 0.7:
        words = [rng.choice(("run", "info", "convert", "web")), *words]
    without_npm = mock.patch.dict(os.environ, PATH=str(folder))
    with contextlib.chdir(folder), without_npm:
        check_command(words)


def check_command(words: list[str]) -> None:
    """A command ends with 0, or with 2 and one line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as end:
            status = end.code
    told = err.getvalue()
    assert status in (0, 2), (words, status)
    assert not (set(CONTROLS) - {"\n"}) & set(out.getvalue() + told), words
    out.getvalue().encode()
    if status == 2:
        lines = [line for line in told.splitlines() if not line.startswith("note: ")]
        assert len(lines) == 1, (words, told)


def make_pictures(folder: Path) -> None:
    """A picture, half a one, one of a thousand million pixels, and a link that leads nowhere."""
    if (folder / "bomb.png").exists():
        return
    whole = png(4, 4, zlib.compress(bytes(5 * 4)))
    (folder / "picture.png").write_bytes(whole)
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "bomb.png").write_bytes(png(2**15, 2**15, zlib.compress(bytes(2**20))))
    (folder / "loop.onnx").symlink_to("loop.onnx")


def png(width: int, height: int, data: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """A gray picture of the given size, whatever its data are; ``more`` chunks before them."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), *more, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


@functools.cache
def zeros() -> bytes:
    """16 MiB of zeros in 16 kB."""
    return zlib.compress(bytes(2**24))


def check_picture(seed: int, folder: Path) -> None:
    """Damaged and immense pictures for a classifier."""
    rng = random.Random(seed)
    kind = rng.randrange(4)
    if kind == 0:
        side = rng.choice((2**14, 2**16, 2**31 - 1))
        content = png(side, rng.choice((1, side)), zlib.compress(bytes(2**16)))
    elif kind == 1:
        text = rng.choice((b"zTXt", b"iCCP"))
        bomb = text, b"a\0\0" + zeros()
        content = png(4, 4, zlib.compress(bytes(20)), bomb)
    else:
        content = flip(png(28, 28, zlib.compress(rng.randbytes(29 * 28))), rng)
    path = folder / f"picture{seed}.png"
    path.write_bytes(content)
    check_command(["run", str(CLASSIFIER), str(path)])


CHECKS: dict[str, Callable[[int, Path], None]] = {
    "bytes": check_bytes,
    "forbidden": check_forbidden,
    "metadata": check_metadata,
    "signature": check_signature,
    "call": check_call,
    "commands": check_commands,
    "picture": check_picture,
}


def soak(seed: int, calls: int, threads: int = 16) -> None:
    """The same calls from many threads at once give the answers that one thread gives."""
    rng = random.Random(seed)
    model, symbols = opened(SPELLER), opened(SPELLER).info["symbols"]
    sources = [" ".join(rng.choices(symbols, k=rng.randrange(1, 12))) for _ in range(calls)]
    beams = [rng.choice((1, 3, 5)) for _ in sources]
    expected = [model(source, num_beams=k) for source, k in zip(sources, beams, strict=True)]
    different: list[str] = []

    def work(first: int) -> None:
        for i in (*range(first, calls), *range(first)):
            if model(sources[i], num_beams=beams[i]) != expected[i]:
                different.append(sources[i])

    workers = [threading.Thread(target=work, args=(i * calls // threads,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not different, different[:5]
