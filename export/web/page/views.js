// Answers as elements.

import { h } from "./dom.js";

const SHADE = 190; // of 255, where the model did not look at all

const visible = (token) => token.replaceAll(" ", "␣");
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const css = (share) => `${100 * share}%`;

/** One bar for each label, in the order of the file; the best is marked. */
export function bars(labels, probabilities, best) {
  const rows = labels.map((label, i) => {
    const fill = h("span", { className: "fill" });
    fill.style.width = css(probabilities[i]);
    return h(
      "li",
      { className: label === best ? "best" : "" },
      h("span", { className: "label" }, label),
      h("span", { className: "bar" }, fill),
      h("span", { className: "figure" }, percent(probabilities[i])),
    );
  });
  return h("ul", { className: "bars", ariaLabel: "Probabilities" }, ...rows);
}

/** The answers of several models, a column each. */
export function sideBySide(answers) {
  const columns = answers.map(({ name, elements }) =>
    h("section", { ariaLabel: name }, h("h2", {}, name), ...elements),
  );
  return h("div", { className: "beside" }, ...columns);
}

/** Texts with their scores, best first. */
export function nBest(texts) {
  const rows = texts.map(({ text, score }) =>
    h(
      "li",
      {},
      h("span", { className: "text" }, text),
      h("span", { className: "figure" }, score.toFixed(4)),
    ),
  );
  return h("ol", { className: "texts", ariaLabel: "Best texts and their scores" }, ...rows);
}

/** What was read (columns) for each token written (rows), as a table. */
export function heatMap({ rows, columns, weights }) {
  const cell = (weight) => {
    const element = h("td", { title: weight.toFixed(3) });
    element.style.setProperty("--weight", css(weight));
    element.append(h("span", {}, weight.toFixed(2)));
    return element;
  };
  const head = columns.map((token) => h("th", { scope: "col" }, visible(token)));
  const body = weights.map((row, i) =>
    h("tr", {}, h("th", { scope: "row" }, visible(rows[i])), ...Array.from(row, cell)),
  );
  const table = h(
    "table",
    { className: "heat" },
    h("thead", {}, h("tr", {}, h("td", {}), ...head)),
    h("tbody", {}, ...body),
  );
  const caption = "Attention: what was read (across) to write each character (down)";
  return h("figure", {}, h("figcaption", {}, caption), ...scrollable(table));
}

/** A wide table, and a line that says so while its end is out of sight. */
function scrollable(table) {
  const cue = h("p", { className: "cue", hidden: true }, "Scroll sideways for the rest →");
  const region = { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Attention" };
  const scroll = h("div", region, table);
  const tell = () => {
    const left = scroll.scrollWidth - scroll.clientWidth - scroll.scrollLeft;
    cue.hidden = left < 2;
    scroll.classList.toggle("cut", left >= 2);
  };
  scroll.addEventListener("scroll", tell);
  new ResizeObserver(tell).observe(scroll);
  return [cue, scroll];
}

/** Pixels (gray or RGB) as a canvas of their own size. */
export function image({ data, width, height }, label) {
  const channels = data.length / width / height;
  return painted(width, height, label, (i) =>
    channels === 1 ? [data[i], data[i], data[i]] : data.subarray(3 * i, 3 * i + 3),
  );
}

/** All maps of a convolution on one scale, symmetric about 0: red above, blue below. */
export function activationMaps({ data, count, width, height }) {
  const size = width * height;
  const limit = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
  const canvases = Array.from({ length: count }, (_, map) =>
    painted(width, height, `Map ${map + 1}`, (i) => diverging(data[map * size + i] / limit)),
  );
  return h(
    "figure",
    {},
    h(
      "figcaption",
      {},
      `First convolution, before the ReLU: ${count} maps, red above 0, blue below`,
    ),
    h("div", { className: "maps" }, ...canvases),
  );
}

function diverging(value) {
  const [r, g, b] = value > 0 ? [178, 24, 43] : [33, 102, 172];
  const share = Math.abs(value);
  return [r, g, b].map((channel) => 247 + (channel - 247) * share);
}

function painted(width, height, label, colour) {
  const canvas = h("canvas", { width, height, role: "img", ariaLabel: label });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const [r, g, b] = colour(i);
    pixels.data.set([r, g, b, 255], 4 * i);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** The picture once for each word, dark where the model did not look. */
export function attentionOverPicture(picture, { rows, weights }) {
  const looks = rows.map((word, i) =>
    h("figure", {}, spotlight(picture, weights[i], word), h("figcaption", {}, word)),
  );
  return h(
    "figure",
    {},
    h("figcaption", {}, "Attention: where the model looked to write each word"),
    h("div", { className: "looks" }, ...looks),
  );
}

function spotlight(picture, weights, word) {
  const side = Math.round(Math.sqrt(weights.length)); // positions of a square grid, row by row
  const most = weights.reduce((a, b) => Math.max(a, b), 0);
  const mask = new OffscreenCanvas(side, side);
  const shade = new ImageData(side, side);
  weights.forEach((weight, i) => (shade.data[4 * i + 3] = SHADE * (1 - weight / most)));
  mask.getContext("2d").putImageData(shade, 0, 0);
  const canvas = small(picture, `Looked at for ${word}`);
  canvas.getContext("2d").drawImage(mask, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** A picture, a few hundred pixels wide. */
export function small(picture, label) {
  const width = 320;
  const height = Math.max(1, Math.round((width * picture.height) / picture.width));
  const canvas = h("canvas", { width, height, role: "img", ariaLabel: label });
  canvas.getContext("2d").drawImage(picture, 0, 0, width, height);
  return canvas;
}
