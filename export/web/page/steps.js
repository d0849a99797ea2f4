// A file's search outside of its loop, step by step: two models made of the bytes of one, as
// export/runtime.py makes them. The numbers are those of the fields in onnx.proto.

const MODEL = { version: 1, graph: 7, operators: 8 };
const GRAPH = { node: 1, name: 2, stored: 5, input: 11, output: 12, value: 13 };
const NODE = { input: 1, output: 2, attribute: 5 };
const VALUE_NAME = 1;
const STORED_NAME = 8;
const SUBGRAPH = 6; // of an attribute

/** The [number, content, whole] of a message's fields, in bytes with and without the tag. */
function* fields(bytes) {
  let position = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; position < bytes.length; scale *= 128) {
      const byte = bytes[position++];
      value += (byte & 127) * scale;
      if (byte < 128) break;
    }
    return value;
  };
  while (position < bytes.length) {
    const start = position;
    const tag = varint();
    const kind = tag % 8; // 0 a number, 2 bytes with their length, 5 four bytes
    const size = kind === 2 ? varint() : kind === 5 ? 4 : 0;
    if (kind === 0) varint();
    const content = bytes.subarray(position, (position += size));
    yield [Math.floor(tag / 8), content, bytes.subarray(start, position)];
  }
}

const all = (bytes, number) =>
  [...fields(bytes)].filter(([found]) => found === number).map(([, content]) => content);
const text = (bytes) => new TextDecoder().decode(bytes);
const name = (value) => text(all(value, VALUE_NAME)[0]);
const storedName = (tensor) => text(all(tensor, STORED_NAME)[0]);
const nameOf = (graph) => text(all(graph, GRAPH.name)[0] ?? new Uint8Array());
const names = (node, number) => all(node, number).map(text).filter(Boolean);
const subgraphs = (node) => all(node, NODE.attribute).flatMap((each) => all(each, SUBGRAPH));

/** Names that a node and the graphs inside it read, their own among them. */
function readBy(node) {
  const inner = subgraphs(node).flatMap((graph) => [
    ...all(graph, GRAPH.output).map(name),
    ...all(graph, GRAPH.node).flatMap(readBy),
  ]);
  return [...names(node, NODE.input), ...inner];
}

function joined(parts) {
  const bytes = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let position = 0;
  for (const part of parts) {
    bytes.set(part, position);
    position += part.length;
  }
  return bytes;
}

function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return Uint8Array.from([...bytes, value]);
}

/** The field of a number that holds some bytes. */
const field = (number, bytes) => joined([varint(8 * number + 2), varint(bytes.length), bytes]);

/** A model of those nodes and constants of a file that the outputs need. */
function modelOf(file, nodes, inputs, outputs) {
  const read = new Set(outputs.map(name));
  const needed = [...nodes].reverse().filter((node) => {
    const isRead = names(node, NODE.output).some((each) => read.has(each));
    if (isRead) readBy(node).forEach((each) => read.add(each));
    return isRead;
  });
  const stored = all(all(file, MODEL.graph)[0], GRAPH.stored);
  const graph = [
    ...needed.reverse().map((node) => field(GRAPH.node, node)),
    field(GRAPH.name, new TextEncoder().encode("part")),
    ...stored.filter((each) => read.has(storedName(each))).map((each) => field(GRAPH.stored, each)),
    ...inputs.map((value) => field(GRAPH.input, value)),
    ...outputs.map((value) => field(GRAPH.output, value)),
  ];
  const kept = [...fields(file)].filter(([number]) =>
    [MODEL.version, MODEL.operators].includes(number),
  );
  return joined([...kept.map(([, , whole]) => whole), field(MODEL.graph, joined(graph))]);
}

/**
 * The nodes before the loop of a search, the first values of that, its body, and what is declared of
 * the values. The branch of one beam stands for the choice between the searches.
 */
function searchOf(graph) {
  const values = all(graph, GRAPH.value);
  const nodes = all(graph, GRAPH.node).flatMap((node) => {
    const greedy = subgraphs(node).find((each) => nameOf(each) === "greedy_search");
    if (!greedy) return [node];
    values.push(...all(greedy, GRAPH.value));
    return all(greedy, GRAPH.node);
  });
  const bodyOf = (node) => subgraphs(node).find((each) => nameOf(each) === "step");
  const place = nodes.findIndex(bodyOf);
  const states = names(nodes[place], NODE.input).slice(2);
  return { outer: nodes.slice(0, place), states, body: bodyOf(nodes[place]), values };
}

/**
 * The search of a file as two models: `start` gives the values `first` of the inputs; `step` is one
 * round, from `before` and the values `fixed` to `after`. Of `first`, a round changes the `states`;
 * the text is the last of them.
 */
export function stepwise(file) {
  const [graph] = all(file, MODEL.graph);
  const { outer, states, body, values } = searchOf(graph);
  const inputs = all(graph, GRAPH.input);
  const known = new Map([...inputs, ...values].map((value) => [name(value), value]));
  const declared = (list) => list.map((each) => known.get(each));
  const constants = new Set(all(graph, GRAPH.stored).map(storedName));
  const alike = outer.filter((node) => {
    const isConstant = readBy(node).every((each) => constants.has(each));
    if (isConstant) names(node, NODE.output).forEach((each) => constants.add(each));
    return isConstant;
  });
  const given = new Set(inputs.map(name));
  const outside = new Set([...given, ...outer.flatMap((node) => names(node, NODE.output))]);
  const nodes = all(body, GRAPH.node);
  const read = [...new Set(nodes.flatMap(readBy))];
  const fixed = read.filter((each) => outside.has(each) && !constants.has(each));
  const first = [...new Set([...states, ...fixed])].filter((each) => !given.has(each));
  const before = all(body, GRAPH.input);
  const after = all(body, GRAPH.output).slice(0, 1 + states.length);
  return {
    start: modelOf(file, outer, inputs, declared(first)),
    step: modelOf(file, [...alike, ...nodes], [...before, ...declared(fixed)], after),
    first,
    fixed,
    states,
    before: before.map(name),
    after: after.map(name),
  };
}
