"""Graph passes that leave a converted graph in the form that the file contract asks for."""

import re
from collections.abc import Container, Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser, shape_inference, version_converter

OPSET = 20
ML_OPSET = 4  # ai.onnx.ml: LabelEncoder with tensors of strings
IR_VERSION = 10  # read by onnxruntime 1.18 and everything later
LARGE = 1024  # bytes
ORDERS = {2: [(1, 0)], 4: [(3, 2, 0, 1)]}  # of axes, in which a weight may be stored too
# The constants of these nodes that are no variable of Keras but made of several: their places.
PACKED = {("LSTM", 1): "W", ("LSTM", 2): "R", ("LSTM", 3): "B"}
PACKED |= {("GRU", 1): "W", ("GRU", 2): "R", ("GRU", 3): "B"}
HEADER = f'<ir_version: {IR_VERSION}, opset_import: ["" : {OPSET}, "ai.onnx.ml" : {ML_OPSET}]>'


def parse_model(
    inputs: Sequence[str],
    outputs: Sequence[str],
    statements: str,
    weights: Mapping[str, np.ndarray],
) -> onnx.ModelProto:
    """A model from ONNX's textual form, one node per line.

    Args:
        inputs, outputs: declarations, e.g. ``float[N, 128] h``.
        statements: the nodes.
        weights: constants; those that the statements name are stored.
    """
    model = parser.parse_model(
        f"{HEADER} graph ({', '.join(inputs)}) => ({', '.join(outputs)}) {{{statements}}}"
    )
    named = set(re.findall(r"\w+", statements))
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in weights.items()
        if name in named
    )
    return model


def splice(first: onnx.ModelProto, second: onnx.ModelProto) -> onnx.ModelProto:
    """Both models as one: outputs of the first feed the inputs of the second of the same names.

    The other names of the two must differ.
    """
    given = {value.name for value in first.graph.output}
    inputs = [value for value in second.graph.input if value.name not in given]
    graph = helper.make_graph(
        [*first.graph.node, *second.graph.node],
        second.graph.name,
        [*first.graph.input, *inputs],
        second.graph.output,
        [*first.graph.initializer, *second.graph.initializer],
    )
    return helper.make_model(graph, ir_version=IR_VERSION, opset_imports=second.opset_import)


def name_nodes(graph: onnx.GraphProto) -> None:
    """Names every node after its first output and its operator, in subgraphs too, in place."""
    for node in graph.node:
        output = re.sub(r"_\d+$", "", node.output[0]).split("/")[-1]
        node.name = node.output[0] if output == node.op_type else f"{node.output[0]}/{node.op_type}"
        for inner in subgraphs(node):
            name_nodes(inner)


def name_scopes(graph: onnx.GraphProto) -> None:
    """Puts the name of each subgraph before the names of its values, in place.

    ``gates`` in the loop body ``step`` of the branch ``greedy`` becomes ``greedy/step/gates``:
    every name of the model is then unique, which shape inference relies on.
    """
    for node in graph.node:
        for inner in subgraphs(node):
            _prefix(inner, f"{inner.name}/", {})


def _prefix(graph: onnx.GraphProto, prefix: str, outer: Mapping[str, str]) -> None:
    defined = [value.name for value in graph.input]
    defined += [name for node in graph.node for name in node.output if name]
    new = {**outer, **{name: prefix + name for name in defined}}
    for value in (*graph.input, *graph.output):
        value.name = new.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
        for inner in subgraphs(node):
            _prefix(inner, f"{prefix}{inner.name}/", new)


def subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The branches of an ``If``, the body of a ``Loop``."""
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def to_contract_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Raises the default operator set to 20 (tf2onnx stops at 18) and adds ``ai.onnx.ml``."""
    model = version_converter.convert_version(model, OPSET)
    del model.opset_import[:]
    model.opset_import.extend(
        [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    )
    model.ir_version = IR_VERSION
    return model


def settle_reshapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Gives each ``Reshape`` with one free axis a constant shape, in place, and returns the model.

    tf2onnx computes the shape from that of the input, with half a dozen nodes.
    """
    graph = model.graph
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.output)
    }
    for node in graph.node:
        shape = shapes.get(node.output[0], [])
        if node.op_type == "Reshape" and shape.count(0) == 1:
            node.input[1] = f"{node.output[0]}/shape"
            value = np.array([size or -1 for size in shape])
            graph.initializer.append(numpy_helper.from_array(value, node.input[1]))
    remove_unused(graph)
    return model


def remove_unused(graph: onnx.GraphProto) -> None:
    """Removes nodes and initializers without a reader, in place; subgraphs stay as they are."""
    needed = {value.name for value in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            nodes.insert(0, node)
            needed |= read_by(node)
    initializers = [each for each in graph.initializer if each.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)


def read_by(node: onnx.NodeProto) -> set[str]:
    """Names that a node and its subgraphs read, their own among them."""
    read = set(node.input)
    for inner in subgraphs(node):
        read.update(value.name for value in inner.output)
        read.update(*map(read_by, inner.node))
    return read


def clean_names(graph: onnx.GraphProto, model_name: str) -> None:
    """Renames nodes and tensors in place after the Keras layer that they come from.

    The result of a ``Conv`` called ``StatefulPartitionedCall/fashion_cnn_1/conv1_1/convolution:0``
    becomes ``conv1/Conv``. Inputs and outputs of the graph keep their names.
    """
    kept = {value.name for value in (*graph.input, *graph.output)}
    operators = {output: node.op_type for node in graph.node for output in node.output}
    new: dict[str, str] = {}
    for name in _names(graph):
        if name in kept or name in new or not name:
            continue
        layer, _, last = _readable(name, model_name).rpartition("/")
        readable = "/".join(filter(None, (layer, operators.get(name, last))))
        new[name] = unused(readable, kept | set(new.values()))
    for node in graph.node:
        rename(node, new)
    for initializer in graph.initializer:
        initializer.name = new.get(initializer.name, initializer.name)
    del graph.value_info[:]  # shapes are inferred again, under the new names
    name_nodes(graph)


def unused(name: str, taken: Container[str]) -> str:
    unique, count = name, 2
    while unique in taken:
        unique, count = f"{name}_{count}", count + 1
    return unique


def name_weights(graph: onnx.GraphProto, weights: Mapping[str, np.ndarray]) -> None:
    """Names the initializers in place after the Keras variables that they hold.

    tf2onnx names them after the operation that read the variable. A convolution's kernel is
    found in ONNX's order of axes too, a matrix transposed. Other constants are named after their
    first reader, those of a recurrent layer as ONNX's operator calls them, e.g. ``encoder_lstm/W``.

    Args:
        weights: values of Keras variables by their ``path``, e.g. ``conv1/kernel``.
    """
    values = dict(weights)
    new: dict[str, str] = {}
    for initializer in graph.initializer:
        held = numpy_helper.to_array(initializer)
        for path, value in values.items():
            same = [value, *(value.transpose(order) for order in ORDERS.get(value.ndim, ()))]
            if value.size > 1 and any(np.array_equal(held, candidate) for candidate in same):
                new[initializer.name] = path
                del values[path]
                break
    others = {initializer.name for initializer in graph.initializer} - set(new)
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in others and name not in new:
                new[name] = unused(constant_of(node, place), new.values())
    for initializer in graph.initializer:
        initializer.name = new.get(initializer.name, initializer.name)
    for node in graph.node:
        rename(node, new)


def constant_of(node: onnx.NodeProto, place: int) -> str:
    """What a constant is called that is the input of a node in this place."""
    if (node.op_type, place) not in PACKED:
        return f"{node.output[0]}/constant"
    layer = node.output[0].rpartition("/")[0]
    return "/".join(filter(None, (layer, PACKED[node.op_type, place])))


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.output
    for initializer in graph.initializer:
        yield initializer.name


def _readable(name: str, model_name: str) -> str:
    name = re.sub(r":\d+$", "", name)
    name = re.sub(r"^.*StatefulPartitionedCall(_\d+)?/", "", name)
    name = re.sub(rf"^(.*/)?{re.escape(model_name)}(_\d+)?/", "", name)
    parts = []
    for part in re.sub(r"__\d+$", "", name).split("/"):
        # Keras appends _1 when a layer is called; the layer's own number (conv1) has no underline
        part = re.sub(r"_\d+$", "", part)
        if part and (not parts or parts[-1] != part):
            parts.append(part)
    return "/".join(parts) or "tensor"


def fill_placeholders(graph: onnx.GraphProto, parts: Mapping[str, onnx.GraphProto]) -> None:
    """Puts a graph in the place of each call of an operator of the domain "part", in place.

    The inputs and outputs of a call are those of its graph, in order. Constants of the graphs
    become constants of ``graph``, also where the call is in a subgraph.
    """
    for part in parts.values():
        graph.initializer.extend(part.initializer)
    _fill(graph, parts)


def _fill(graph: onnx.GraphProto, parts: Mapping[str, onnx.GraphProto]) -> None:
    nodes = []
    for node in graph.node:
        if node.domain != "part":
            for inner in subgraphs(node):
                _fill(inner, parts)
            nodes.append(node)
            continue
        part = parts[node.op_type]
        given = (value.name for value in part.input)
        new = dict(zip(given, node.input, strict=True))
        made = {name for each in part.node for name in each.output}
        passed = []
        for value, name in zip(part.output, node.output, strict=True):
            if value.name in made:
                new[value.name] = name
            else:  # an input or a constant is given back as it is
                passed.append(
                    helper.make_node("Identity", [new.get(value.name, value.name)], [name])
                )
        for original in part.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(original)
            rename(copy, new)
            nodes.append(copy)
        nodes += passed
    del graph.node[:]
    graph.node.extend(nodes)


def rename(node: onnx.NodeProto, new: Mapping[str, str]) -> None:
    """Renames what a node reads and gives, in its subgraphs too, in place."""
    node.input[:] = [new.get(name, name) for name in node.input]
    node.output[:] = [new.get(name, name) for name in node.output]
    for inner in subgraphs(node):
        for each in inner.node:
            rename(each, new)
        for value in inner.output:
            value.name = new.get(value.name, value.name)


def merge_equal_constants(graph: onnx.GraphProto) -> None:
    """Keeps one of the large initializers that hold the same values, in place.

    An embedding that encoder and step share comes from both of them.
    """
    kept: dict[tuple, str] = {}
    new = {}
    for stored in graph.initializer:
        value = numpy_helper.to_array(stored)
        key = (value.dtype.str, value.shape, value.tobytes())
        if (
            value.nbytes >= LARGE
            and value.dtype != object
            and kept.setdefault(key, stored.name) != stored.name
        ):
            new[stored.name] = kept[key]
    initializers = [stored for stored in graph.initializer if stored.name not in new]
    del graph.initializer[:]
    graph.initializer.extend(initializers)
    for node in graph.node:
        rename(node, new)
