"""Passes over the graph of a step that compute the same in fewer nodes.

A step of one token takes microseconds, most of them for starting nodes.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.fold import computed_from, shapes_of
from export.passes import read_by, remove_unused, rename

FLOATS = (np.float32, np.float64)


def fuse(model: onnx.ModelProto, invariant: Collection[str]) -> None:
    """Runs all passes of this module, in place.

    Args:
        model: its axes named by ``fold.name_axes``.
        invariant: inputs that are the same in every step.
    """
    sums_with_products(model)
    means_of_products(model, invariant)
    gates_together(model.graph)
    look_with_its_axes(model)


def sums_with_products(model: onnx.ModelProto) -> None:
    """``MatMul`` of two matrices and ``Add`` become ``Gemm``, in place."""
    graph, shapes = model.graph, shapes_of(model)
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    shapes |= {name: list(value.shape) for name, value in constants.items()}
    makers = lone_makers(graph)
    for node in graph.node:
        if node.op_type != "Add":
            continue
        for name, other in (tuple(node.input), tuple(reversed(node.input))):
            product = makers.get(name)
            if product is None or product.op_type != "MatMul":
                continue
            kernel, sum_shape = constants.get(product.input[1]), shapes.get(node.output[0])
            if kernel is None or kernel.ndim != 2 or kernel.dtype not in FLOATS:
                continue
            is_matrix = len(shapes.get(product.input[0], [])) == 2
            if is_matrix and shapes.get(other) in (sum_shape, [kernel.shape[1]]):
                node.op_type = "Gemm"
                node.input[:] = [*product.input, other]
                break
    remove_unused(graph)


def means_of_products(model: onnx.ModelProto, invariant: Collection[str]) -> None:
    """A dense layer on a state and a context multiplies what the context is a mean of, in place.

    [h, a @ v] @ w + b is h @ w_h + a @ (v @ w_v + b) where a sums to 1, as a softmax does. What a
    step looks at is the same in every step, and so is that product.
    """
    graph, shapes = model.graph, shapes_of(model)
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    steady = {*invariant, *computed_from(graph, invariant)}
    makers = {name: node for node in graph.node for name in node.output}
    lone, nodes = lone_makers(graph), []
    for node in graph.node:
        context = context_in(node, lone) if node.op_type == "Gemm" else None
        if context is not None and {*node.input[1:]} <= constants.keys():
            state, mean = context
            kernel, width = constants[node.input[1]], shapes.get(mean.output[0], [0])[-1]
            fits = isinstance(width, int) and shapes.get(state, [])[1:] == [len(kernel) - width]
            if (
                width
                and fits
                and mean.input[1] in steady
                and is_softmax(makers.get(mean.input[0]), shapes)
            ):
                parts = {"of_state": kernel[:-width], "of_values": kernel[-width:]}
                parts["rows"] = np.array([-1, kernel.shape[1]])
                named = {part: f"{node.input[1]}_{part}" for part in parts}
                graph.initializer.extend(
                    numpy_helper.from_array(value, named[part]) for part, value in parts.items()
                )
                made = f"{node.output[0]}/values"
                nodes += [
                    helper.make_node("MatMul", [mean.input[1], named["of_values"]], [f"{made}_of"]),
                    helper.make_node("Add", [f"{made}_of", node.input[2]], [made]),
                    helper.make_node("MatMul", [mean.input[0], made], [f"{made}_mean"]),
                    helper.make_node("Reshape", [f"{made}_mean", named["rows"]], [f"{made}_row"]),
                ]
                node.input[:] = [state, named["of_state"], f"{made}_row"]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    remove_unused(graph)


def context_in(
    dense: onnx.NodeProto, lone: Mapping[str, onnx.NodeProto]
) -> tuple[str, onnx.NodeProto] | None:
    """What a layer reads joined: the name of a state, and a product that is made a row."""
    joined = lone.get(dense.input[0])
    if joined is None or joined.op_type != "Concat" or len(joined.input) != 2 or dense.attribute:
        return None
    flat = lone.get(joined.input[1])
    mean = lone.get(flat.input[0]) if flat is not None and flat.op_type == "Reshape" else None
    return (joined.input[0], mean) if mean is not None and mean.op_type == "MatMul" else None


def is_softmax(node: onnx.NodeProto | None, shapes: Mapping[str, Sequence]) -> bool:
    """Whether a node makes numbers that sum to 1 along the last axis."""
    if node is None or node.op_type != "Softmax":
        return False
    return all(each.i in (-1, len(shapes.get(node.output[0], "")) - 1) for each in node.attribute)


def gates_together(graph: onnx.GraphProto) -> None:
    """Calls ``Sigmoid`` once for the gates of an LSTM, not once for each, in place.

    Keras puts the candidate, which takes ``tanh``, before the last gate. Here it comes last, in
    the weights too.
    """
    counts, makers = readings(graph), lone_makers(graph)
    stored = {each.name: each for each in graph.initializer if counts[each.name] == 1}
    calls = {
        node.input[0]: node.output[0]
        for node in graph.node
        if node.op_type == "Sigmoid" and node.input[0] in makers
    }
    nodes, done = [], set()
    for node in graph.node:
        gates = [place for place, name in enumerate(node.output) if name in calls]
        others = [place for place in range(len(node.output)) if place not in gates]
        weights = columns_of(node.input[0], makers, stored) if node.op_type == "Split" else []
        if len(gates) > 2 and others and weights and len(node.input) == 1:
            order = [*gates, *others]
            for weight in weights:
                parts = np.split(numpy_helper.to_array(weight), len(order), axis=-1)
                moved = np.concatenate([parts[place] for place in order], axis=-1)
                weight.CopyFrom(numpy_helper.from_array(moved, weight.name))
            name, width = node.input[0], weights[0].dims[-1] // len(order)
            sizes = np.array([len(gates) * width, *[width] * len(others)])
            graph.initializer.append(numpy_helper.from_array(sizes, f"{name}/sizes"))
            rest = [node.output[place] for place in others]
            named = [calls[node.output[place]] for place in gates]
            nodes += [
                helper.make_node(
                    "Split", [name, f"{name}/sizes"], [f"{name}/gates", *rest], axis=-1
                ),
                helper.make_node("Sigmoid", [f"{name}/gates"], [f"{name}/Sigmoid"]),
                helper.make_node(
                    "Split", [f"{name}/Sigmoid"], named, axis=-1, num_outputs=len(named)
                ),
            ]
            done |= {*named, *node.output}
        elif not done & set(node.output):
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    remove_unused(graph)


def columns_of(
    name: str,
    makers: Mapping[str, onnx.NodeProto],
    stored: Mapping[str, onnx.TensorProto],
) -> list[onnx.TensorProto]:
    """The weights whose columns are those of a product and of what is added to it."""
    sums = makers.get(name)
    if sums is None or sums.op_type != "Gemm" or len(sums.input) != 3 or sums.attribute:
        return []
    kernel, added = sums.input[1:]
    lookup = makers.get(added)
    if lookup is not None and lookup.op_type == "Gather" and not lookup.attribute:
        added = lookup.input[0]
    weights = [stored[each] for each in (kernel, added) if each in stored]
    return weights if len(weights) == 2 else []


def look_with_its_axes(model: onnx.ModelProto) -> None:
    """Gives ``look`` with the axes of size 1 that it was squeezed of, in place.

    The search collects it as rows of any shape and arranges them when the loop is done.
    """
    graph, shapes = model.graph, shapes_of(model)
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    squeeze = made.get("look")
    if squeeze is None or squeeze.op_type != "Squeeze" or squeeze.input[0] not in made:
        return
    rank, axes = len(shapes.get(squeeze.input[0], [])), constants.get([*squeeze.input, ""][1])
    if axes is None or sorted(int(axis) % rank for axis in axes) != [*range(1, rank - 1)]:
        return
    graph.node.remove(squeeze)
    for node in graph.node:
        rename(node, {squeeze.input[0]: "look"})
    look = next(value for value in graph.output if value.name == "look")
    sizes = [None, *[1] * (rank - 2), None]
    look.CopyFrom(helper.make_tensor_value_info("look", onnx.TensorProto.FLOAT, sizes))


def lone_makers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """The nodes by the names of what they make, where one other reads it, and it is no output."""
    counts, outputs = readings(graph), {value.name for value in graph.output}
    return {
        name: node
        for node in graph.node
        for name in node.output
        if counts[name] == 1 and name not in outputs
    }


def readings(graph: onnx.GraphProto) -> Counter[str]:
    """How often each name is read."""
    counts = Counter(name for node in graph.node for name in node.input)
    for node in graph.node:
        counts.update(read_by(node) - set(node.input))
    return counts
