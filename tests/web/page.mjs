// Uses the page as a person would: node page.mjs CHROMIUM < plan.json > seen.json
//
// The plan is a list of visits {url, width, dark, do: [[action, value], ...]}, each in a new page.
// What an action saw is in the list `seen` of its visit, in its place.

import { readFileSync } from "node:fs";

import { chromium } from "playwright-core";

const plan = JSON.parse(readFileSync(0, "utf8"));
const browser = await chromium.launch({ executablePath: process.argv[2], args: ["--no-sandbox"] });

/** Waits for the answer that an action brings. */
async function answered(page, act) {
  await page.evaluate(() => (document.getElementById("status").textContent = ""));
  await act();
  await page.waitForFunction(() => / ms$/.test(document.getElementById("status").textContent));
}

/** Presses Tab until an element that `selector` names has the focus. */
async function tabTo(page, selector) {
  for (let presses = 0; presses < 200; presses++) {
    if (await page.evaluate((wanted) => document.activeElement.matches(wanted), selector)) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`Tab does not reach ${selector}`);
}

const actions = {
  async ready(page) {
    await page.waitForFunction(() => {
      const text = (id) => document.getElementById(id).textContent;
      return text("status").endsWith("is ready.") || text("error");
    });
  },
  fill: (page, [selector, value]) => answered(page, () => page.fill(selector, value)),
  select: (page, [selector, value]) => answered(page, () => page.selectOption(selector, value)),
  click: (page, selector) => answered(page, () => page.click(selector)),
  choose: (page, file) => answered(page, () => page.setInputFiles("input[type=file]", file)),
  async drop(page, file) {
    const dataTransfer = await page.evaluateHandle(
      (bytes) => {
        const dropped = new DataTransfer();
        dropped.items.add(new File([new Uint8Array(bytes)], "dropped.png"));
        return dropped;
      },
      [...readFileSync(file)],
    );
    await answered(page, () => page.dispatchEvent(".drop", "drop", { dataTransfer }));
  },
  async draw(page, points) {
    const box = await page.locator(".pad").boundingBox();
    const [first, ...rest] = points.map(([x, y]) => [
      box.x + x * box.width,
      box.y + y * box.height,
    ]);
    await page.mouse.move(...first);
    await page.mouse.down();
    for (const point of rest) await page.mouse.move(...point, { steps: 5 });
    await answered(page, () => page.mouse.up());
  },
  tab: tabTo,
  enter: (page) => answered(page, () => page.keyboard.press("Enter")),
  press: (page, key) => page.keyboard.press(key),
  type: (page, text) => answered(page, () => page.keyboard.insertText(text)),
  put: (page, [selector, value]) => page.fill(selector, value), // waits for no answer
  set: (page, [selector, file]) => page.setInputFiles(selector, file),
  wait: (page, milliseconds) => page.waitForTimeout(milliseconds),
  screenshot: (page, path) => page.screenshot({ path, fullPage: true }).then(() => null),
  evaluate: (page, code) => page.evaluate(code),
  answer: (page) =>
    page.evaluate(() => {
      const texts = (selector, root = document) =>
        [...root.querySelectorAll(selector)].map((element) => element.textContent);
      const picture = document.querySelector(".seen canvas");
      return {
        best: texts(".best-answer")[0] ?? "",
        beside: Object.fromEntries(
          [...document.querySelectorAll(".beside section")].map((section) => [
            texts("h2", section)[0],
            { best: texts(".best-answer", section)[0], texts: texts(".texts .text", section) },
          ]),
        ),
        texts: texts(".texts .text"),
        scores: texts(".texts .figure").map(Number),
        labels: texts(".bars .label"),
        shares: texts(".bars .figure").map(parseFloat),
        rows: texts(".heat tbody th"),
        columns: texts(".heat thead th"),
        weights: [...document.querySelectorAll(".heat tbody tr")].map((row) =>
          texts("td", row).map(Number),
        ),
        maps: document.querySelectorAll(".maps canvas").length,
        looks: texts(".looks figcaption"),
        note: texts(".note")[0] ?? "",
        status: texts("#status")[0],
        error: texts("#error")[0],
        pixels: picture
          ? [...picture.getContext("2d").getImageData(0, 0, picture.width, picture.height).data]
          : [],
      };
    }),
};

/** Runs in the page before anything else: notes violations, and what is told while loading. */
function watch() {
  document.addEventListener("securitypolicyviolation", (event) =>
    window.report(`policy: ${event.violatedDirective} ${event.blockedURI}`),
  );
  window.told = [];
  document.addEventListener("DOMContentLoaded", () => {
    const [status, progress] = ["status", "progress"].map((id) => document.getElementById(id));
    const note = () =>
      window.told.push([status.textContent, progress.hidden ? -1 : progress.value]);
    new MutationObserver(note).observe(document, {
      attributes: true,
      childList: true,
      subtree: true,
    });
  });
}

async function run({ url, width = 1000, dark = false, do: steps }) {
  const context = await browser.newContext({
    viewport: { width, height: 800 },
    colorScheme: dark ? "dark" : "light",
  });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const problems = [];
  const requests = [];
  page.on("console", (message) => problems.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
  page.on("request", (request) => requests.push(request.url()));
  await page.exposeFunction("report", (text) => problems.push(text));
  await page.addInitScript(watch);
  await page.goto(url);
  const seen = [];
  for (const [name, value] of [["ready"], ...steps]) {
    try {
      seen.push((await actions[name](page, value)) ?? null);
    } catch (error) {
      const { status, error: told } = await actions.answer(page);
      const state = JSON.stringify({ url, name, value, status, told, problems });
      throw new Error(`${error.message} at ${state}`);
    }
  }
  const scrollWidth = await page.evaluate(() => document.documentElement.scrollWidth);
  const told = await page.evaluate(() => window.told);
  await context.close();
  return { seen: seen.slice(1), told, problems, requests, scrollWidth };
}

const results = [];
try {
  for (const step of plan) results.push(await run(step));
} finally {
  await browser.close();
}
console.log(JSON.stringify(results));
