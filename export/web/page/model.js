// Runs one file with onnxruntime-web. What the inputs and outputs are: the table "ONNX files" of
// the design; the answers are those of export/runtime.py.

import { uniforms } from "./random.js";
import { stepwise } from "./steps.js";
import { codePoints, split, tokens } from "./text.js";

/** Starts onnxruntime-web from the bytes of its WebAssembly. */
export async function startRuntime(wasm) {
  const ort = await import("./runtime/ort.js");
  ort.env.wasm.numThreads = 1; // more would need headers that a static server does not send
  ort.env.wasm.wasmBinary = wasm.buffer;
  return ort;
}

/** A model: the entry of models.json, with its session. */
export async function openModel(ort, entry, bytes) {
  return { ...entry, ort, bytes, session: await open(ort, bytes), steps: null };
}

const open = (ort, bytes) => ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });

const MAX_BEAMS = 100; // more take a browser minutes

const int64 = (model, value) => new model.ort.Tensor("int64", [BigInt(value)], []);

/** The source as the file takes it; `source` is a text, or {data, width, height} of a picture. */
function feeds(model, source) {
  const { Tensor } = model.ort;
  const kind = model.source_kind ?? model.kind;
  if (kind === "speller" || kind === "words") {
    return { text: new Tensor("string", [split(source, model).join(" ")], [1]) };
  }
  if (kind === "translator") {
    const points = codePoints(split(source, model));
    return { codepoints: new Tensor("int32", points, [1, points.length]) };
  }
  const { data, width, height } = source;
  const channels = data.length / width / height;
  return { image: new Tensor("uint8", data, [1, height, width, channels]) };
}

/**
 * Label, probabilities in the order of the labels, and the first convolution's output:
 * {data, count, height, width}, or null for a network without one.
 */
export async function classify(model, image) {
  const outputs = await model.session.run(feeds(model, image));
  const probabilities = [...outputs.probabilities.data];
  const maps = model.maps && outputs[model.maps];
  if (!maps) return { label: outputs.label.data[0], probabilities, maps: null };
  const [, count, height, width] = maps.dims;
  const { data } = maps;
  return { label: outputs.label.data[0], probabilities, maps: { data, count, height, width } };
}

/**
 * The best texts with their scores, best first, and the attention of the best: one row of weights
 * for each of `rows` (its tokens and its end), or null for a model without.
 */
export async function search(model, source, numBeams, maxLength = model.max_length) {
  if (!(numBeams <= MAX_BEAMS)) {
    throw new Error(`${numBeams} beams are too many: the most is ${MAX_BEAMS}.`);
  }
  const outputs = await model.session.run(searchFeeds(model, source, numBeams, maxLength));
  const scores = outputs.scores.data;
  const found = [...outputs.text_out.data].map((text, i) => ({ text, score: scores[i] }));
  const best = found.filter(({ score }) => score > -Infinity); // fewer texts than beams exist
  return {
    best,
    attention: outputs.attention
      ? attention(model, source, found[0].text, outputs.attention)
      : null,
  };
}

function attention(model, source, text, { data, dims }) {
  const [, , width] = dims;
  const weights = [];
  for (let start = 0; start < data.length; start += width) {
    const row = data.slice(start, start + width);
    if (row.some((weight) => weight > 0)) weights.push(row); // rows after the end are zero
  }
  const written = tokens(text, model);
  const rows = weights.map((_, i) => written[i] ?? "end");
  if (model.source_kind === "captioner") return { rows, weights };
  const columns = split(source, model);
  return { rows, columns, weights: weights.map((row) => row.slice(0, columns.length)) };
}

const searchFeeds = (model, source, numBeams, maxLength) => ({
  ...feeds(model, source),
  num_beams: int64(model, numBeams),
  max_length: int64(model, maxLength),
});

/** One sampled text and its score; the same seed gives the same text as in Python. */
export async function sample(model, source, topP, seed) {
  const outputs = await model.session.run(sampleFeeds(model, source, topP, seed));
  return { text: outputs.text_out.data[0], score: outputs.scores.data[0] };
}

function sampleFeeds(model, source, topP, seed) {
  const { Tensor } = model.ort;
  const numbers = uniforms(seed, model.max_length);
  return {
    ...feeds(model, source),
    top_p: new Tensor("float32", [topP], []),
    uniforms: new Tensor("float32", numbers, [1, numbers.length]),
  };
}

/** The text of greedy search piece by piece, as it is written. */
export const stream = (model, source) =>
  pieces(model, searchFeeds(model, source, 1, model.max_length));

/** The sample that `sample` gives, piece by piece. */
export const streamSample = (model, source, topP, seed) =>
  pieces(model, sampleFeeds(model, source, topP, seed));

async function* pieces(model, inputs) {
  const { ort } = model;
  if (!model.steps) {
    const steps = stepwise(model.bytes);
    model.steps = { ...steps, start: await open(ort, steps.start), step: await open(ort, steps.step) };
  }
  const { start, step, first, fixed, states, before, after } = model.steps;
  const values = { ...inputs, ...(await start.run(inputs, first)) };
  const given = fixed.map((name) => [name, values[name]]);
  let carried = states.map((name) => values[name]);
  let written = "";
  for (let t = 0; t < model.max_length; t++) {
    const going = new ort.Tensor("bool", [true], []);
    const tensors = [int64(model, t), going, ...carried];
    const round = Object.fromEntries([...before.map((name, i) => [name, tensors[i]]), ...given]);
    const found = await step.run(round, after);
    carried = after.slice(1).map((name) => found[name]);
    const [text] = carried.at(-1).data;
    if (text !== written) yield text.slice(written.length);
    written = text;
    if (!found[after[0]].data[0]) break;
  }
}
