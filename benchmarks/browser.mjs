// Milliseconds that a speller needs in the browser: WebAssembly, one thread, one word, after warm-up.
//
//   python -m export web results/onnx/p2g_attention.onnx --out page
//   (cd tests/web && npm ci)
//   node benchmarks/browser.mjs page "h ə l o ʊ" [CHROMIUM]
//
// Times the first speller of the site, greedy and with five beams, through the page's own modules.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join } from "node:path";

const require = createRequire(new URL("../tests/web/", import.meta.url));
const { chromium } = require("playwright-core");

const WARM_UP = 20;
const RUNS = 200;
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };

const [site, source, executablePath = "/usr/bin/chromium"] = process.argv.slice(2);
if (!site || !source) {
  console.error('expected: node benchmarks/browser.mjs SITE "h ə l o ʊ" [CHROMIUM]');
  process.exit(2);
}

/** Runs in the page. */
async function measure({ source, warmUp, runs }) {
  const { openModel, search, startRuntime } = await import("./model.js");
  const bytes = async (url) => new Uint8Array(await (await fetch(url)).arrayBuffer());
  const { models } = await (await fetch("models.json")).json();
  const entry = models.find((model) => model.kind === "speller");
  const ort = await startRuntime(await bytes("runtime/ort.wasm"));
  const model = await openModel(ort, entry, await bytes(entry.file));
  const results = [];
  for (const numBeams of [1, 5]) {
    const times = [];
    let found = null;
    for (let run = 0; run < warmUp + runs; run++) {
      const started = performance.now();
      found = await search(model, source, numBeams);
      if (run >= warmUp) times.push(performance.now() - started);
    }
    times.sort((a, b) => a - b);
    const [median, slow] = [0.5, 0.95].map((share) => times[Math.floor(share * runs)]);
    results.push({ name: entry.name, numBeams, text: found.best[0].text, median, slow });
  }
  return results;
}

const server = createServer(async (request, response) => {
  const path = new URL(request.url, "http://site").pathname.replace(/\/$/, "/index.html");
  const content = await readFile(join(site, path)).catch(() => null);
  const type = TYPES[extname(path)] ?? "application/octet-stream";
  response.writeHead(content ? 200 : 404, { "content-type": type }).end(content);
});
await new Promise((resume) => server.listen(0, "127.0.0.1", resume));
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`, { waitUntil: "networkidle" });
  const results = await page.evaluate(measure, { source, warmUp: WARM_UP, runs: RUNS });
  for (const { name, numBeams, text, median, slow } of results) {
    const times = `median ${median.toFixed(2)} ms, 95 % under ${slow.toFixed(2)} ms`;
    console.log(`${name}, ${numBeams} beams: "${source}" -> ${text}: ${times}`);
  }
} finally {
  await browser.close();
  server.close();
}
