"""Passes over the graph of a step: what need not be computed in a loop leaves it.

A step's graph comes from tf2onnx, with the inputs ``token``, states and fixed values.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper, shape_inference

from export.passes import IR_VERSION, OPSET, read_by, remove_unused, rename

TOKENS_AT_ONCE = 1024
SMALL_TABLE = 2**20  # bytes; a larger one must not exceed what it is computed from


class Halves(NamedTuple):
    """A graph in two: what is computed once, and what every step computes.

    Attributes:
        once: its inputs are invariant, its outputs ``kept``.
        step: its inputs are those that vary, then ``kept``.
        kept: names of what the step reads of the first half and of the invariant inputs.
    """

    once: onnx.GraphProto
    step: onnx.GraphProto
    kept: list[str]


def products_without_reshapes(model: onnx.ModelProto) -> None:
    """Joins ``Reshape``, ``MatMul`` and ``Reshape`` back to one ``MatMul`` of any rank, in place.

    So tf2onnx writes a dense layer on a sequence; ONNX's operator takes the sequence.
    """
    graph = model.graph
    shapes = shapes_of(model)
    producers = {output: node for node in graph.node for output in node.output}
    constants = {stored.name for stored in graph.initializer}
    for node in graph.node:
        product = producers.get(node.input[0]) if node.op_type == "Reshape" else None
        if product is None or product.op_type != "MatMul" or product.input[1] not in constants:
            continue
        flat = producers.get(product.input[0])
        if flat is None or flat.op_type != "Reshape":
            continue
        before, after = shapes.get(flat.input[0]), shapes.get(node.output[0])
        inner = shapes.get(product.input[0])
        if not before or not after or not inner or len(inner) != 2 or before[-1] != inner[-1]:
            continue
        dims = list(zip(before[:-1], after[:-1], strict=False))
        is_same = all(a == b or not isinstance(a, int) or not isinstance(b, int) for a, b in dims)
        if len(before) == len(after) and is_same:
            node.op_type = "MatMul"
            node.input[:] = [flat.input[0], product.input[1]]
            del node.attribute[:]
    remove_unused(graph)


def shapes_of(model: onnx.ModelProto) -> dict[str, list[int | str | None]]:
    """The inferred shapes by name; a free axis is its name, None without one."""
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: [
            axis.dim_value if axis.HasField("dim_value") else axis.dim_param or None
            for axis in value.type.tensor_type.shape.dim
        ]
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
        if value.type.tensor_type.HasField("shape")
    }


def name_axes(graph: onnx.GraphProto, rows: str = "R") -> None:
    """Names the free axes of the inputs: the first of each ``rows``, others after the input."""
    for value in graph.input:
        for number, axis in enumerate(value.type.tensor_type.shape.dim):
            if not axis.HasField("dim_value"):
                axis.dim_param = rows if number == 0 else f"{value.name}_{number}"
    del graph.value_info[:]


def shapes_from_inputs(model: onnx.ModelProto, invariant: Mapping[str, str]) -> None:
    """Computes shapes from inputs that do not vary, where they are the same, in place.

    Args:
        model: its axes named by ``name_axes``.
        invariant: inputs that do not vary; for a state of fixed size the name of its first value.
    """
    graph = model.graph
    shapes = shapes_of(model)
    axes: dict[str, tuple[str, int]] = {}
    for value in graph.input:
        for number, size in enumerate(shapes.get(value.name, ())):
            if isinstance(size, str) and value.name in invariant:
                axes.setdefault(size, (invariant[value.name], number))
    nodes = []
    for node in graph.node:
        dims = shapes.get(node.input[0]) if node.op_type == "Shape" else None
        if dims is None or not all(isinstance(size, int) or size in axes for size in dims):
            nodes.append(node)
            continue
        nodes += shape_nodes(graph, node, dims, axes)
    del graph.node[:]
    graph.node.extend(nodes)


def shape_nodes(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    dims: list[int | str],
    axes: Mapping[str, tuple[str, int]],
) -> list[onnx.NodeProto]:
    """The nodes that compute what a ``Shape`` gives from other values of the same sizes."""
    bounds = {attribute.name: attribute.i for attribute in node.attribute}
    dims = dims[bounds.get("start", 0) : bounds.get("end", len(dims))]
    name, parts, nodes = node.output[0], [], []
    for number, size in enumerate(dims):
        parts.append(f"{name}/{number}")
        if isinstance(size, int):
            graph.initializer.append(numpy_helper.from_array(np.array([size]), parts[-1]))
        else:
            value, axis = axes[size]
            nodes.append(helper.make_node("Shape", [value], [parts[-1]], start=axis, end=axis + 1))
    return [*nodes, helper.make_node("Concat", parts, [name], axis=0)]


def indices_as_they_are(graph: onnx.GraphProto) -> None:
    """Lets ``Gather`` count negative indices from the end, as it can, in place.

    Keras adds the size of the table to them, with four nodes.
    """
    producers = {output: node for node in graph.node for output in node.output}
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    for node in graph.node:
        choice = producers.get(node.input[1]) if node.op_type == "Gather" else None
        if choice is None or choice.op_type != "Where" or node.input[0] not in constants:
            continue
        is_below, added, index = choice.input
        below, total = producers.get(is_below), producers.get(added)
        if below is None or total is None or (below.op_type, total.op_type) != ("Less", "Add"):
            continue
        compared = producers.get(below.input[0])
        if compared is not None and compared.op_type == "Cast":
            below_of = compared.input[0]
        else:
            below_of = below.input[0]
        axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
        size = constants[node.input[0]].shape[axis]
        sizes = [constants.get(name) for name in total.input if name != index]
        is_wrapped = below_of == index and is_number(constants.get(below.input[1]), 0)
        if is_wrapped and len(sizes) == 1 and is_number(sizes[0], size):
            node.input[1] = index
    remove_unused(graph)


def is_number(value: np.ndarray | None, number: int) -> bool:
    """Whether a constant is one number, this one."""
    return value is not None and value.size == 1 and value.item() == number


def sums_from_tokens(graph: onnx.GraphProto) -> None:
    """Adds constants to what is computed from the token first, in place.

    A bias then goes into the token's table.
    """
    constants = {each.name for each in graph.initializer}
    of_token = computed_from(graph, {"token"})
    outputs = {value.name for value in graph.output}
    sums = {node.output[0]: node for node in graph.node if node.op_type == "Add"}
    for node in sums.values():
        for name, constant in (node.input, reversed(node.input)):
            inner = sums.get(name)
            if inner is None or constant not in constants or name in outputs:
                continue
            readers = [each for each in graph.node if name in read_by(each)]
            from_token = [each for each in inner.input if each in of_token]
            others = [each for each in inner.input if each not in of_token]
            if len(readers) == len(from_token) == len(others) == 1:
                inner.input[:] = [*from_token, constant]
                node.input[:] = [name, *others]
                break


def tables_of_tokens(graph: onnx.GraphProto, size: int) -> None:
    """Looks up in a table what a step computes from the token alone, in place.

    An LSTM's share of the token, embedding @ kernel + bias, then costs a ``Gather``.

    Args:
        graph: with the input ``token``.
        size: of the vocabulary.
    """
    refused: set[str] = set()
    while True:
        values = computed_from(graph, {"token"}, refused)
        wanted = read_outside(graph, values)
        if not wanted:
            break
        found = evaluate(graph, values, wanted, size)
        limits = bytes_behind(graph, values)
        bad = {
            name
            for name, table in found.items()
            if table is None or table.nbytes > max(SMALL_TABLE, limits[name])
        }
        if not bad:
            use_tables(graph, found)
            break
        refused |= bad
    remove_unused(graph)


def computed_from(
    graph: onnx.GraphProto, inputs: Collection[str], refused: Collection[str] = ()
) -> set[str]:
    """Names of what is computed from these inputs, one at least, and constants alone."""
    constants = {stored.name for stored in graph.initializer} | {""}
    found = set(inputs)
    for node in graph.node:
        read = read_by(node) - constants
        if read and read <= found and not set(refused) & set(node.output):
            found.update(node.output)
    return found - set(inputs)


def read_outside(graph: onnx.GraphProto, values: Collection[str]) -> list[str]:
    """Which of the values others read, or are outputs."""
    read = {value.name for value in graph.output}
    for node in graph.node:
        if not set(node.output) & set(values):
            read |= read_by(node)
    return sorted(read & set(values))


def evaluate(
    graph: onnx.GraphProto, values: Collection[str], wanted: list[str], size: int
) -> dict[str, np.ndarray | None]:
    """The rows of values for all tokens; None where a row depends on more than its token."""
    nodes = [node for node in graph.node if set(node.output) & set(values)]
    token = next(value for value in graph.input if value.name == "token")
    outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
    read = set().union(*map(read_by, nodes))
    constants = [stored for stored in graph.initializer if stored.name in read]
    inner = helper.make_graph(nodes, "tables", [token], outputs, constants)
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(inner, opset_imports=opset, ir_version=IR_VERSION)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    tokens = np.arange(size, dtype=np.int32)
    other = np.append(tokens[::-1], tokens[:1])
    tables = of_all(session, wanted, tokens)
    again = of_all(session, wanted, other)
    return {
        name: table
        if table.shape[:1] == (size,)
        and found.shape[:1] == other.shape
        and np.allclose(table[other], found, 1e-5, 1e-6)
        else None
        for name, table, found in zip(wanted, tables, again, strict=True)
    }


def of_all(
    session: onnxruntime.InferenceSession, wanted: list[str], tokens: np.ndarray
) -> list[np.ndarray]:
    """What a session gives for all tokens, some at a time: a one-hot row is as long as all."""
    starts = range(0, len(tokens), TOKENS_AT_ONCE)
    parts = [session.run(wanted, {"token": tokens[i : i + TOKENS_AT_ONCE]}) for i in starts]
    return [np.concatenate(list(map(np.atleast_1d, each))) for each in zip(*parts, strict=True)]


def bytes_behind(graph: onnx.GraphProto, values: Collection[str]) -> dict[str, int]:
    """Bytes of the constants that each value is computed from."""
    sizes = {s.name: numpy_helper.to_array(s).nbytes for s in graph.initializer}
    behind: dict[str, set[str]] = {}
    for node in graph.node:
        read = read_by(node)
        constants = read & set(sizes)
        constants = constants.union(*(behind.get(name, set()) for name in read))
        behind.update(dict.fromkeys(set(node.output) & set(values), constants))
    return {name: sum(sizes[each] for each in names) for name, names in behind.items()}


def use_tables(graph: onnx.GraphProto, tables: Mapping[str, np.ndarray]) -> None:
    """Computes the named values by lookup, in place."""
    nodes, new = [], {}
    for name, table in tables.items():
        is_index = table.ndim == 1 and np.array_equal(table, np.arange(len(table)))
        if is_index and only_index(graph, name):
            new[name] = "token"
            continue
        graph.initializer.append(numpy_helper.from_array(table, f"{name}/table"))
        nodes.append(helper.make_node("Gather", [f"{name}/table", "token"], [name]))
    kept = []
    for node in graph.node:
        if not set(node.output) & set(tables):
            rename(node, new)
            kept.append(node)
    del graph.node[:]
    graph.node.extend([*nodes, *kept])


def only_index(graph: onnx.GraphProto, name: str) -> bool:
    """Whether a value serves as nothing but the index of a ``Gather``, int32 or int64."""
    readers = [node for node in graph.node if name in read_by(node)]
    return name not in {value.name for value in graph.output} and all(
        node.op_type == "Gather" and node.input[1] == name != node.input[0] for node in readers
    )


def read_int64_tokens(graph: onnx.GraphProto) -> None:
    """Lets ``token`` be int64, as searches find it, in place."""
    if not only_index(graph, "token"):
        for node in graph.node:
            rename(node, {"token": "token_int32"})
        cast = helper.make_node("Cast", ["token"], ["token_int32"], to=onnx.TensorProto.INT32)
        graph.node.insert(0, cast)


def halves(graph: onnx.GraphProto, invariant: Iterable[str]) -> Halves:
    """Splits a graph into what is computed from invariant values alone, and the rest."""
    invariant = list(invariant)
    once = computed_from(graph, invariant)
    kept = read_outside(graph, {*once, *invariant})
    first = [node for node in graph.node if set(node.output) & once]
    rest = [node for node in graph.node if not set(node.output) & once]
    inputs = [value for value in graph.input if value.name not in invariant]
    before = helper.make_graph(
        first,
        "once",
        [onnx.ValueInfoProto(name=name) for name in invariant],
        [onnx.ValueInfoProto(name=name) for name in kept],
    )
    step = helper.make_graph(
        rest,
        "step",
        [*inputs, *(onnx.ValueInfoProto(name=name) for name in kept)],
        graph.output,
        graph.initializer,
    )
    return Halves(before, step, kept)
