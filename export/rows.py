"""A step computes on rows: without axes of size 1, and without reshapes between its layers.

Layers that read sequences are given sequences of one token, (R, 1, D), and tf2onnx makes matrices
of them and back. A *view* is a value whose elements are those of another one, its root, in the same
order. What computes row by row, such as a dense layer, takes the root in place of the view; what is
left of a view is one ``Reshape`` where something else reads it.
"""

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.fold import shapes_of
from export.passes import read_by, remove_unused, rename

VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Transpose", "Slice"}
OF_ELEMENTS = {"Abs", "Cast", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "LeakyRelu", "Log"}
OF_ELEMENTS |= {"Neg", "Relu", "Sigmoid", "Softplus", "Sqrt", "Tanh"}
OF_TWO = {"Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"}
OF_LAST_AXIS = {"Concat", "LayerNormalization", "Softmax", "Split"}
ALL = 10**9  # the end of a slice that has none, as tf2onnx writes it, or more

Shape = list[int | str | None]


def compute_on_rows(model: onnx.ModelProto) -> None:
    """Rewrites a step's graph so, in place, where it then has fewer nodes.

    Args:
        model: its free axes named by ``fold.name_axes``.
    """
    graph = Rows(model).rewritten()
    if len(graph.node) < len(model.graph.node):
        model.graph.CopyFrom(graph)


class Rows:
    """A graph while it is rewritten.

    Attributes:
        shapes: by name; the first axis of rows is free, the others are not.
        constants: by name.
        roots: of the views, by name.
        nodes: those written so far.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = onnx.GraphProto()
        self.graph.CopyFrom(model.graph)
        self.shapes: dict[str, Shape] = shapes_of(model)
        self.constants = {each.name: numpy_helper.to_array(each) for each in self.graph.initializer}
        self.roots: dict[str, str] = {}
        self.nodes: list[onnx.NodeProto] = []

    def rewritten(self) -> onnx.GraphProto:
        """The graph, without what nothing reads any more."""
        for node in list(self.graph.node):
            if self.is_view(node):
                self.roots[node.output[0]] = self.root(node.input[0])
            elif self.is_by_row(node):
                self.write_by_row(node)
            else:
                self.write(node)
        for value in self.graph.output:
            if (root := self.shown(value.name)) != value.name:
                self.nodes.append(helper.make_node("Identity", [root], [value.name]))
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        give_outputs_their_names(self.graph)
        remove_unused(self.graph)
        return self.graph

    def root(self, name: str) -> str:
        return self.roots.get(name, name)

    def is_rows(self, name: str) -> bool:
        """Whether the first axis is free and all others are known."""
        shape = self.shapes.get(name)
        return bool(shape) and all(isinstance(n, int) == (i > 0) for i, n in enumerate(shape))

    def is_view(self, node: onnx.NodeProto) -> bool:
        """Whether a node gives the elements of its input, in their order."""
        given, found = node.input[0] if node.input else "", node.output[0]
        if node.op_type not in VIEWS or not (self.is_rows(given) and self.is_rows(found)):
            return False
        before, after = self.shapes[given][1:], self.shapes[found][1:]
        if math.prod(before) != math.prod(after):
            return False
        if node.op_type == "Transpose":
            (order,) = (list(each.ints) for each in node.attribute)
            long = [axis for axis in order if axis == 0 or before[axis - 1] != 1]
            return long == sorted(long)
        return node.op_type != "Slice" or self.keeps_rows(node)

    def keeps_rows(self, node: onnx.NodeProto) -> bool:
        """Whether a ``Slice`` that leaves no element of a row out leaves no row out either."""
        parts = [self.constants.get(name) for name in node.input[1:]]
        if len(parts) < 3 or any(part is None for part in parts):
            return False
        starts, ends, axes, *steps = (part.tolist() for part in parts)
        all_rows = all(
            start == 0 and end >= ALL
            for start, end, axis in zip(starts, ends, axes, strict=True)
            if axis in (0, -len(self.shapes[node.input[0]]))
        )
        return all_rows and all(step == 1 for each in steps for step in each)

    def is_by_row(self, node: onnx.NodeProto) -> bool:
        """Whether a node computes the last axis from the last axis alone."""
        if not all(self.is_rows(name) for name in node.output):
            return False
        varying = [name for name in node.input if name not in self.constants]
        if not all(map(self.is_rows, varying)):
            return False
        leading = {tuple(self.shapes[name][1:-1]) for name in varying}
        if len(leading) != 1 or min(len(self.shapes[name]) for name in varying) < 2:
            return False
        kind, others = node.op_type, [self.constants[n] for n in node.input if n in self.constants]
        if kind == "MatMul":
            return node.input[0] in varying and len(varying) == 1 and others[0].ndim == 2
        if kind in OF_LAST_AXIS:
            rank = len(self.shapes[varying[0]])
            usual = 0 if kind == "Split" else -1
            axis = next((each.i for each in node.attribute if each.name == "axis"), usual)
            return axis in (-1, rank - 1) and (kind != "Concat" or not others)
        sizes = {self.shapes[name][-1] for name in varying}
        if kind in OF_TWO and (len(sizes) > 1 or any(each.ndim > 1 for each in others)):
            return False
        return kind in OF_ELEMENTS | OF_TWO

    def write_by_row(self, node: onnx.NodeProto) -> None:
        """Writes a node on rows; its outputs become views."""
        rank = len(self.shapes[node.output[0]])
        node.input[:] = [n if n in self.constants else self.on_rows(n) for n in node.input]
        for number, name in enumerate(node.output):
            rows = self.squeezed(name)
            if rows != self.shapes[name]:
                node.output[number] = f"{name}/rows"
                self.shapes[node.output[number]] = rows
                self.roots[name] = node.output[number]
        for each in node.attribute:
            if each.name == "axis" and each.i == rank - 1:
                each.i = -1
        self.nodes.append(node)

    def squeezed(self, name: str) -> Shape:
        """The shape without axes of size 1 between the first and the last."""
        first, *middle, last = self.shapes[name]
        return [first, *(size for size in middle if size != 1), last]

    def on_rows(self, name: str) -> str:
        """The value in its shape without axes of size 1."""
        return self.reshaped(self.root(name), self.squeezed(name), f"{self.root(name)}/rows")

    def write(self, node: onnx.NodeProto) -> None:
        """Writes a node as it is; what it reads gets the shape that it expects."""
        rename(node, {name: self.shown(name) for name in read_by(node) if name in self.roots})
        self.nodes.append(node)

    def shown(self, name: str) -> str:
        """A value of the elements and shape of a view."""
        if name not in self.roots:
            return name
        return self.reshaped(self.roots[name], self.shapes[name], name)

    def reshaped(self, name: str, shape: Shape, new: str) -> str:
        """The value itself where it has the shape, else under a new name."""
        if self.shapes[name][1:] == shape[1:]:
            return name
        if not any(new in node.output for node in self.nodes):
            sizes = "_".join(map(str, shape[1:]))
            constant = f"rows_of_{sizes}"
            if constant not in self.constants:
                self.constants[constant] = np.array([-1, *shape[1:]])
                stored = numpy_helper.from_array(self.constants[constant], constant)
                self.graph.initializer.append(stored)
            self.nodes.append(helper.make_node("Reshape", [name, constant], [new]))
            self.shapes[new] = shape
        return new


def give_outputs_their_names(graph: onnx.GraphProto) -> None:
    """Renames what an ``Identity`` gives back as an output, in place, where it is no input."""
    made = {name for node in graph.node if node.op_type != "Identity" for name in node.output}
    outputs = {value.name for value in graph.output}
    new: dict[str, str] = {}
    for node in graph.node:
        if node.op_type != "Identity" or node.output[0] not in outputs:
            continue
        if node.input[0] in made and node.input[0] not in outputs | new.keys():
            new[node.input[0]] = node.output[0]
    nodes = [node for node in graph.node if new.get(next(iter(node.input), "")) != node.output[0]]
    del graph.node[:]
    graph.node.extend(nodes)
    for node in graph.node:
        rename(node, new)
