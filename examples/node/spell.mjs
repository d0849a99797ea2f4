// Spells phonemes, translates a sentence, or whatever else a file makes of a text, with one exported
// file and onnxruntime-node:
//
//   node spell.mjs FILE.onnx "d ɪ s k ʌ v ə ɹ" [NUM_BEAMS [MAX_LENGTH]]
//
// prints up to NUM_BEAMS (default 5) texts with their scores, best first. Search and vocabulary are
// inside the file; all that is left to do is to write the text as the file's metadata ask for.

import { readFile } from "node:fs/promises";

const MOST_BEAMS = 1000;
const LONGEST = 4096;

const isCount = (text, most) => /^[1-9]\d{0,4}$/.test(text) && Number(text) <= most;
const fail = (message) => {
  console.error(message.split("\n")[0]);
  process.exit(2);
};

const [file, source = "", beams = "5", longest, ...more] = process.argv.slice(2);
if (more.length || !source.trim() || !isCount(beams, MOST_BEAMS) || !isCount(longest ?? "1", LONGEST)) {
  fail(
    'expected: node spell.mjs FILE.onnx "d ɪ s k ʌ v ə ɹ" [NUM_BEAMS [MAX_LENGTH]], ' +
      `up to ${MOST_BEAMS} beams and ${LONGEST} tokens`,
  );
}

const { default: ort } = await import("onnxruntime-node").catch(() =>
  fail("onnxruntime-node is not installed: run npm ci in the folder of spell.mjs"),
);
const int64 = (number) => new ort.Tensor("int64", [BigInt(number)], []);

/** The facts of a file, {name: value}: onnxruntime-node does not give its metadata. */
function facts(bytes) {
  const found = {};
  for (const [field, entry] of fields(bytes)) {
    if (field !== 14) continue; // ModelProto.metadata_props
    const { 1: key, 2: value } = Object.fromEntries(
      [...fields(entry)].map(([number, text]) => [number, new TextDecoder().decode(text)]),
    );
    if (key?.startsWith("hw2.")) found[key.slice(4)] = parsed(key, value);
  }
  const { symbols, max_length: most } = found;
  const areTexts = Array.isArray(symbols) && symbols.every((each) => typeof each === "string");
  if (!areTexts || !isCount(String(most), LONGEST)) {
    fail(`${file} does not say which symbols it reads, or its max_length: export it again`);
  }
  return found;
}

function parsed(key, value) {
  try {
    return JSON.parse(value);
  } catch {
    return fail(`${file} has a ${key} that is no JSON: export it again`);
  }
}

/** The [number, bytes] of a protocol buffer's fields; of numbers, which have none, the number. */
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
    const tag = varint();
    const size = tag % 8 === 2 ? varint() : 0;
    if (tag % 8 === 0) varint();
    yield [Math.floor(tag / 8), bytes.subarray(position, (position += size))];
  }
}

// What Python's str.split() splits at.
const WHITE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u;
const UNKNOWN = 0xfffd; // stands for a character that no vocabulary holds

// Characters that look like another one, and what stands for both.
const LOOKALIKES = new Map([
  ...[..."g:'’ʼǝεα"].map((c, i) => [c, [..."ɡːˈˈˈəɛɑ"][i]]),
  ["\u035c", "\u0361"],
  ["ʤ", "d͡ʒ"],
  ["ʧ", "t͡ʃ"],
]);
// Phonetic letters and the letter of the keyboard that people write for them.
const LETTERS = [..."ɡɹɾɻɛəɜɝɚæɑɒɐʌʊɪɨɔɵŋɲʃʒθðɫʍɓ"];
const BASES = new Map(LETTERS.map((c, i) => [c, "grrreeeeeaaaauuiioonnsztdlwb"[i]]));

const translate = (text, table) => Array.from(text, (c) => table.get(c) ?? c).join("");
const look = (symbol) => translate(symbol.normalize("NFD"), LOOKALIKES);
const base = (symbol) =>
  translate(look(symbol).replace(/[\p{Mn}\p{Lm}\p{Sk}]/gu, "").toLowerCase(), BASES);
const code = (c) => `U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
const named = (symbol) => `${symbol} (${Array.from(symbol, code).join(" ")})`;

/** The symbols as the vocabulary has them; what is changed or unknown is told. */
function known(symbols, { symbols: vocabulary, unknown }) {
  return symbols.map((symbol) => {
    if (vocabulary.includes(symbol)) return symbol;
    const alike = vocabulary.filter((other) => look(other) === look(symbol));
    if (alike.length === 1) {
      console.error(`note: read ${named(symbol)} as ${named(alike[0])}`);
      return alike[0];
    }
    const rank = (s) => 2 * [...s].length + (s !== base(s));
    const [near] = vocabulary
      .filter((s) => base(s) && base(s) === base(symbol))
      .sort((a, b) => rank(a) - rank(b));
    const hint = near ? `; did you mean ${named(near)}?` : "";
    if (unknown === null) fail(`unknown to this file, which has no <unk>: ${symbol}${hint}`);
    console.error(`note: unknown, read as <unk>: ${symbol}${hint}`);
    return symbol;
  });
}

/** Lower case, no accents, a space before each of .!? and in place of other punctuation. */
function cleanSentence(text) {
  const plain = text.toLowerCase().normalize("NFD").replace(/\p{Mn}/gu, "");
  return plain.replace(/[.!?]/g, " $&").replace(/[^\p{L}\p{N}_.!?]+/gu, " ");
}

/** What the file reads: symbols or words between spaces, or the code points of characters. */
function sourceTensor(session, facts) {
  if (session.inputNames.includes("text")) {
    const symbols = known(source.normalize("NFC").split(WHITE).filter(Boolean), facts);
    return { text: new ort.Tensor("string", [symbols.join(" ")], [1]) };
  }
  const sentence = facts.cleaned ? cleanSentence(source) : source.normalize("NFC");
  const characters = known(sentence.match(/\P{M}\p{M}*|\p{M}+/gu) ?? [], facts);
  const points = characters.map((c) => ([...c].length === 1 ? c.codePointAt(0) : UNKNOWN));
  return { codepoints: new ort.Tensor("int32", points, [1, points.length]) };
}

const bytes = await readFile(file).catch(({ code }) =>
  fail(`${file} cannot be read (${code}): expected an exported .onnx file`),
);
const quiet = { logSeverityLevel: 4 }; // what it would log comes as an error too
const opening = ort.InferenceSession.create(bytes, quiet);
const session = await opening.catch((error) => fail(error.message));
const inputs = ["text", "codepoints"].find((name) => session.inputNames.includes(name));
if (!inputs || !session.inputNames.includes("num_beams")) {
  fail(`${file} takes no text, or has no beams: expected a speller, a translator or their like`);
}
const about = facts(bytes);
const feeds = {
  ...sourceTensor(session, about),
  num_beams: int64(beams),
  max_length: int64(longest ?? about.max_length),
};
const running = session.run(feeds, quiet);
const { text_out: texts, scores } = await running.catch((error) => fail(error.message));
texts.data.forEach((found, i) => {
  const score = scores.data[i]; // -Infinity where fewer texts than beams exist
  if (score > -Infinity) console.log(`  ${score.toFixed(4).padStart(8)}  ${found}`);
});
