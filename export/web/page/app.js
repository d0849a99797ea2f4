// The page: reads models.json, loads the model that the address names, shows its panel.

import { h } from "./dom.js";
import { openModel, startRuntime } from "./model.js";
import { panel } from "./panel.js";

const MANIFEST = "models.json";
const place = (id) => document.getElementById(id);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

/** A path as an address: a name may hold # and ?. */
const address = (path) => path.split("/").map(encodeURIComponent).join("/");

const say = (text) => (place("status").textContent = text);
const fail = (error) => (place("error").textContent = error ? error.message : "");

/** The bytes of a file of this site; `onBytes` hears of every part that arrives. */
async function download(url, onBytes) {
  const response = await fetch(url, { cache: "no-cache" }).catch(() => null);
  if (!response?.ok) {
    const reason = response ? `the server says ${response.status}` : "no answer from the server";
    throw new Error(`Cannot load ${url}: ${reason}. Reload the page to try again.`);
  }
  const parts = [];
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
    parts.push(value);
    onBytes(value.length);
  }
}

let runtime = null; // a promise once the first model has been asked for
const models = new Map(); // name -> a promise of the open model
let current = null; // the entry that the address names

async function load(entry, wasmBytes) {
  const total = entry.bytes + (runtime ? 0 : wasmBytes);
  const bar = place("progress");
  let done = 0;
  const onBytes = (count) => {
    done += count;
    bar.value = Math.min(1, done / total);
  };
  const once = runtime ? "" : ` and, once, the runtime, ${megabytes(wasmBytes)}`;
  say(`Loading ${entry.name}, ${megabytes(entry.bytes)}${once} …`);
  bar.value = 0;
  bar.hidden = false;
  try {
    runtime ??= download("runtime/ort.wasm", onBytes).then(startRuntime);
    runtime.catch(() => (runtime = null));
    const [ort, bytes] = await Promise.all([runtime, download(address(entry.file), onBytes)]);
    return await openModel(ort, entry, bytes);
  } finally {
    bar.hidden = true;
  }
}

/** A promise of the open model, which is loaded once; an attempt that fails is forgotten. */
function opened(entry, wasmBytes) {
  if (!models.has(entry.name)) {
    const model = load(entry, wasmBytes);
    model.catch(() => models.delete(entry.name));
    models.set(entry.name, model);
  }
  return models.get(entry.name);
}

async function route(manifest) {
  const hash = location.hash.slice(1);
  const named = manifest.models.find(({ name }) => encodeURIComponent(name) === hash);
  const entry = named ?? manifest.models[0];
  current = entry;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${encodeURIComponent(entry.name)}`) link.ariaCurrent = "page";
    else link.removeAttribute("aria-current");
  }
  document.title = `${entry.words} in your browser`;
  fail(null);
  place("panel").replaceChildren();
  place("about").replaceChildren(...about(entry, manifest.runtime));
  const open = (name) =>
    opened(
      manifest.models.find((other) => other.name === name),
      manifest.runtime.bytes,
    );
  try {
    const model = await open(entry.name);
    if (entry !== current) return; // the reader has gone on to another
    place("panel").replaceChildren(...panel(model, open, say, fail));
    say(`${entry.name} is ready.`);
  } catch (error) {
    if (entry !== current) return;
    say("");
    fail(error);
  }
}

function about(entry, { package: name }) {
  const measured = Object.entries(entry.measured);
  const facts = {
    Experiment: [entry.experiment, entry.title, entry.edition].filter(Boolean).join(", "),
    "Trained on": entry.edition && `${entry.source} data`, // of a model of yours nobody knows
    Measured: measured.map(([what, value]) => `${what} ${Number(value.toPrecision(4))}`).join("; "),
    Notes: entry.notes?.join("; "),
    Licence: entry.licence,
    "Runs with": name,
  };
  const rows = Object.entries(facts).filter(([, text]) => text);
  const link = h("a", { href: address(entry.file), download: "" }, entry.file.split("/").at(-1));
  return [
    h("h2", {}, "About this file"),
    h(
      "dl",
      {},
      h("dt", {}, "File"),
      h("dd", {}, link, `, ${megabytes(entry.bytes)}`),
      ...rows.flatMap(([term, text]) => [h("dt", {}, term), h("dd", {}, text)]),
    ),
  ];
}

try {
  const manifest = JSON.parse(new TextDecoder().decode(await download(MANIFEST, () => {})));
  const links = manifest.models.map(({ name, words }) =>
    h("a", { href: `#${encodeURIComponent(name)}`, title: name }, words),
  );
  document.querySelector("nav").replaceChildren(...links);
  addEventListener("hashchange", () => route(manifest));
  await route(manifest);
} catch (error) {
  say("");
  fail(error);
}
