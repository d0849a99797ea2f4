// One model's part of the page: its source, its options, its answer.

import { h, newest } from "./dom.js";
import { classify, sample, search, stream, streamSample } from "./model.js";
import { pixels, resize } from "./picture.js";
import { pictureSource, textSource } from "./sources.js";
import { isBlank, named, nearest, read } from "./text.js";
import * as views from "./views.js";

/** The elements for a model; `open` gives another by its name, `say` tells progress, `fail` an error. */
export function panel(model, open, say, fail) {
  const answer = h("section", { id: "answer", ariaLabel: "Answer" });
  let source = null;
  const answered = newest(async (isOld) => {
    fail(null);
    if (source === null) {
      answer.replaceChildren();
      return;
    }
    answer.ariaBusy = "true";
    try {
      const models = [model, ...(await Promise.all(rival.names().map(open)))];
      await answerWith(models, source, options, answer, say, isOld);
    } catch (error) {
      answer.replaceChildren();
      say("");
      fail(error);
    } finally {
      answer.ariaBusy = "false";
    }
  });
  const options = optionsOf(model, answered);
  const rival = rivalOf(model, answered);
  const give = (given) => {
    source = given;
    return answered();
  };
  const inputs = takesText(model) ? textSource : pictureSource;
  const elements = inputs(model, [...options.elements, ...rival.elements], give, fail);
  return [h("section", { ariaLabel: "Input" }, ...elements), answer];
}

const takesText = (model) => ["speller", "translator", "words"].includes(model.source_kind);

/** Shows the answer of each model, unless another is asked for before it is there. */
async function answerWith(models, source, options, answer, say, isOld) {
  const [model] = models;
  if (takesText(model) && isBlank(source)) {
    answer.replaceChildren();
    say("Type something, or choose an example.");
    return;
  }
  if (!takesText(model)) {
    say("Looking at the picture …");
    await new Promise((resume) => setTimeout(resume)); // the message is painted first
  }
  const show = { classifier: showLabel, sampler: showSample }[model.kind] ?? showTexts;
  const values = options.values();
  if (values.pieces && models.length === 1) {
    say("Writing …");
    await write(values.pieces(model, readable(model, source)), answer, isOld);
  }
  const found = [];
  for (const each of models) {
    if (isOld()) return;
    found.push({ name: each.name, ...(await show(each, source, values)) });
  }
  if (isOld()) return;
  const elements = found.length === 1 ? found[0].elements : [views.sideBySide(found)];
  answer.replaceChildren(...notes(model, source), ...elements);
  say(found.map((each) => told(each, found.length > 1)).join("; "));
}

function told({ name, kind, text, milliseconds }, several) {
  const digits = milliseconds < 10 ? 1 : 0;
  return `${several ? name : kind}: ${text}, in ${milliseconds.toFixed(digits)} ms`;
}

/** Shows the letters of a text as they come; scores and attention follow at its end. */
async function write(pieces, answer, isOld) {
  const line = h("p", { className: "best-answer" });
  answer.replaceChildren(line);
  for await (const piece of pieces) {
    if (isOld()) return;
    line.append(piece);
    await new Promise((resume) => setTimeout(resume)); // it is painted meanwhile
  }
}

async function timed(promise) {
  const started = performance.now();
  return { ...(await promise), milliseconds: performance.now() - started };
}

async function showLabel(model, source) {
  const [height, width, channels] = model.image_shape;
  const seen = resize(pixels(source, channels), width, height, channels);
  const { label, probabilities, maps, milliseconds } = await timed(classify(model, seen));
  const elements = [
    h(
      "div",
      { className: "seen" },
      views.image(seen, "The picture as the network sees it"),
      h(
        "p",
        {},
        h("strong", { className: "best-answer" }, label),
        h("br"),
        `from ${width} × ${height} pixels`,
      ),
    ),
    views.bars(model.labels, probabilities, label),
  ];
  if (maps) elements.push(views.activationMaps(maps));
  return { elements, kind: "It is", text: label, milliseconds };
}

const readable = (model, source) => (takesText(model) ? source : pixels(source, 3));

async function showTexts(model, source, { numBeams }) {
  const found = search(model, readable(model, source), numBeams);
  const { best, attention, milliseconds } = await timed(found);
  const elements = answerElements(model, source, best);
  if (attention) {
    const draw = takesText(model) ? views.heatMap : views.attentionOverPicture.bind(null, source);
    elements.push(draw(attention));
  }
  return { elements, kind: "Best", text: best[0].text, milliseconds };
}

async function showSample(model, source, { topP, seed }) {
  const drawn = sample(model, readable(model, source), topP, seed);
  const { text, score, milliseconds } = await timed(drawn);
  const elements = answerElements(model, source, [{ text, score }]);
  return { elements, kind: "Sample", text, milliseconds };
}

function answerElements(model, source, texts) {
  const best = h("p", { className: "best-answer" }, texts[0].text);
  const picture = takesText(model)
    ? ""
    : h("div", { className: "given" }, views.small(source, "The picture"));
  return [picture, best, views.nBest(texts)];
}

/** Names the symbols that were read as another one, and those that the model has never seen. */
function notes(model, source) {
  if (!takesText(model)) return [];
  const { changed, unknown } = read(source, model);
  const lines = [...changed].map(([from, to]) => `Read ${named(from)} as ${named(to)}.`);
  if (unknown.length) {
    const hints = unknown
      .map((symbol) => [symbol, nearest(symbol, model)])
      .filter(([, near]) => near)
      .map(([symbol, near]) => `; for ${symbol} did you mean ${named(near)}?`);
    lines.push(`Unknown to the model, read as <unk>: ${unknown.join(" ")}${hints.join("")}`);
  }
  return lines.map((line) => h("p", { className: "note" }, line));
}

/** The choice of a second model for the same task: its elements, and `names()`, one or none. */
function rivalOf(model, changed) {
  if (!model.rivals.length) return { elements: [], names: () => [] };
  const select = h("select", { id: "rival", onchange: changed }, h("option", { value: "" }, "none"));
  select.append(...model.rivals.map((name) => h("option", { value: name }, name)));
  const label = h("label", { htmlFor: "rival" }, "Another model beside it");
  const elements = [h("div", { className: "field" }, label, select)];
  return { elements, names: () => [select.value].filter(Boolean) };
}

/** The options of a kind: their elements, and `values()`, which throws for a wrong one. */
function optionsOf(model, changed) {
  if (model.kind === "classifier") return { elements: [], values: () => ({}) };
  if (model.kind === "sampler") return samplerOptions(changed);
  const beams = h("select", { id: "beams", onchange: changed });
  for (const count of [1, 2, 3, 5, 10]) {
    beams.append(
      h("option", { value: count, selected: count === 5 }, count === 1 ? "1 (greedy)" : count),
    );
  }
  const label = h("label", { htmlFor: "beams" }, "Beams of the search");
  const elements = [h("div", { className: "field" }, label, beams)];
  const values = () => {
    const numBeams = Number(beams.value);
    return { numBeams, pieces: numBeams === 1 ? stream : null }; // of more, the best comes last
  };
  return { elements, values };
}

function samplerOptions(changed) {
  const number = (id, properties) =>
    h("input", { id, type: "number", required: true, oninput: changed, ...properties });
  const seed = number("seed", { value: 42, min: 0, max: 2 ** 32 - 1, step: 1 });
  const topP = number("top-p", { value: 0.8, min: 0.01, max: 1, step: 0.01 });
  const another = h("button", { type: "button" }, "Next seed");
  another.addEventListener("click", () => {
    seed.value = (Number(seed.value) + 1) % 2 ** 32;
    changed();
  });
  const elements = [
    h("div", { className: "field" }, h("label", { htmlFor: "seed" }, "Seed"), seed, another),
    h(
      "div",
      { className: "field" },
      h("label", { htmlFor: "top-p" }, "Mass of the nucleus (top p)"),
      topP,
    ),
  ];
  const values = () => {
    if (!seed.checkValidity()) throw new Error("The seed must be a whole number, 0 or more.");
    if (!topP.checkValidity()) throw new Error("Top p must be a number from 0.01 to 1.");
    const [top, number] = [topP, seed].map(({ value }) => Number(value));
    const pieces = (...given) => streamSample(...given, top, number);
    return { topP: top, seed: number, pieces };
  };
  return { elements, values };
}
