// What a person can give: a drawing, a picture, a text. Each calls `give(source)`; the elements of
// the search's options stand among theirs.

import { h } from "./dom.js";
import { open } from "./picture.js";

const PAD = 280; // pixels of a side of the drawing pad
const PEN = 22; // two pixels of a 28 x 28 image

/** A drop zone, a file button and the examples; `give` gets something that can be drawn. */
export function pictureSource(model, options, give, fail) {
  const pad = model.image_shape?.[2] === 1 ? drawingPad(give) : null;
  const show = async (fileOrUrl) => {
    try {
      const picture = await open(fileOrUrl);
      pad?.show(picture);
      give(picture);
    } catch (error) {
      fail(error);
    }
  };
  const file = h("input", {
    type: "file",
    accept: "image/*",
    onchange: () => file.files.length && show(file.files[0]),
  });
  const kind = model.image_shape ? "A picture" : "An aerial picture";
  const zone = h(
    "label",
    {
      className: "drop",
      ondragover: (event) => {
        event.preventDefault();
        zone.classList.add("over");
      },
      ondragleave: () => zone.classList.remove("over"),
      ondrop: (event) => {
        event.preventDefault();
        zone.classList.remove("over");
        const [dropped] = event.dataTransfer.files;
        if (dropped) show(dropped);
        else fail(new Error("That was no file: drop a PNG or JPEG picture."));
      },
    },
    h("span", {}, `${kind} of any size. Drop it here, or`),
    file,
  );
  const examples = model.examples.map(({ name, picture }) =>
    h(
      "button",
      { type: "button", onclick: () => show(picture) },
      h("img", { src: picture, alt: "", width: 56, height: 56 }),
      name,
    ),
  );
  return [...known(model), ...exampleRow(examples), pad?.element ?? "", zone, ...options];
}

/** What the model knows: a sentence, and its characters where it reads characters. */
function known(model) {
  if (!model.knows) return [];
  const signs = model.signs
    ? Object.entries(model.signs).map(([name, sign]) =>
        h("li", {}, h("img", { src: sign, alt: "", width: 40, height: 40 }), name),
      )
    : [];
  const list = h("ul", { className: "signs", ariaLabel: "Characters" }, ...signs);
  return [h("p", { className: "knows" }, model.knows), signs.length ? list : ""];
}

function exampleRow(buttons) {
  if (!buttons.length) return [];
  const row = { className: "examples", role: "group", ariaLabel: "Examples" };
  return [h("p", { className: "what" }, "Examples to load"), h("div", row, ...buttons)];
}

function drawingPad(give) {
  const pad = h("canvas", {
    className: "pad",
    width: PAD,
    height: PAD,
    role: "img",
    ariaLabel: "Drawing pad, for mouse, pen or finger; there are examples and picture files too",
  });
  const context = pad.getContext("2d");
  const clear = () => {
    context.fillStyle = "black";
    context.fillRect(0, 0, PAD, PAD);
    return null; // nothing is given any more
  };
  const point = (event) => {
    const box = pad.getBoundingClientRect();
    const scale = PAD / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  clear();
  Object.assign(context, {
    lineWidth: PEN,
    lineCap: "round",
    lineJoin: "round",
    strokeStyle: "white",
  });
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    context.beginPath();
    context.moveTo(...point(event));
    context.lineTo(...point(event)); // a dot, should the pen not move
    context.stroke();
  });
  pad.addEventListener("pointermove", (event) => {
    if (!pad.hasPointerCapture(event.pointerId)) return;
    context.lineTo(...point(event));
    context.stroke();
  });
  pad.addEventListener("lostpointercapture", () => give(pad));
  const button = h("button", { type: "button", onclick: () => give(clear()) }, "Clear");
  return {
    element: h(
      "div",
      { className: "drawing" },
      pad,
      h("p", {}, "Or draw, filling the square.", button),
    ),
    show: (picture) => context.drawImage(picture, 0, 0, PAD, PAD),
  };
}

const PROMPTS = {
  speller: "Phonemes, with spaces between",
  translator: "Spanish",
  words: "A sentence",
};

/** A line of text, examples and, for a speller, the symbols that keyboards lack. */
export function textSource(model, options, give) {
  const input = h("input", {
    id: "source",
    type: "text",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: false,
    lang: !model.edition ? "" : model.source_kind === "translator" ? "es" : "en-fonipa",
    oninput: () => give(input.value),
  });
  const write = (text) => {
    input.value = text;
    give(text);
  };
  const examples = model.examples.map(({ text }) =>
    h("button", { type: "button", onclick: () => write(text) }, text),
  );
  const label = h("label", { htmlFor: "source" }, model.edition ? PROMPTS[model.source_kind] : "Text");
  const append = (symbol) => write(`${input.value.trimEnd()} ${symbol}`.trim());
  const keys = model.source_kind === "speller" ? symbolKeys(model, append) : "";
  const field = h("div", { className: "field" }, label, input);
  return [field, ...exampleRow(examples), ...options, keys];
}

function symbolKeys(model, write) {
  const keys = [...model.symbols]
    .sort((a, b) => a.localeCompare(b))
    .map((symbol) => h("button", { type: "button", onclick: () => write(symbol) }, symbol));
  return h(
    "details",
    {},
    h("summary", {}, `The ${keys.length} symbols that it knows`),
    h("div", { className: "keys" }, ...keys),
  );
}
