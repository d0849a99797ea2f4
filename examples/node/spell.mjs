// Spells phonemes, or translates a sentence, with one exported file and onnxruntime-node:
//
//   node spell.mjs FILE.onnx "d ɪ s k ʌ v ə ɹ" [NUM_BEAMS [MAX_LENGTH]]
//
// prints up to NUM_BEAMS (default 5) texts with their scores, best first. Search and vocabulary are
// inside the file; all that is left to do is to write the text as the training data were written.

import { readFile } from "node:fs/promises";

import ort from "onnxruntime-node";

const MOST_BEAMS = 1000;
const LONGEST = 4096;

const isCount = (text, most) => /^[1-9]\d{0,4}$/.test(text) && Number(text) <= most;
const fail = (message) => {
  console.error(message.split("\n")[0]);
  process.exit(2);
};

const [file, source = "", beams = "5", longest = "50"] = process.argv.slice(2);
if (!source.trim() || !isCount(beams, MOST_BEAMS) || !isCount(longest, LONGEST)) {
  fail(
    'expected: node spell.mjs FILE.onnx "d ɪ s k ʌ v ə ɹ" [NUM_BEAMS [MAX_LENGTH]], ' +
      `up to ${MOST_BEAMS} beams and ${LONGEST} tokens`,
  );
}

const int64 = (number) => new ort.Tensor("int64", [BigInt(number)], []);

/** The facts of a file, {name: value}: onnxruntime-node does not give its metadata. */
function facts(bytes) {
  const found = {};
  for (const [field, entry] of fields(bytes)) {
    if (field !== 14) continue; // ModelProto.metadata_props
    const { 1: key, 2: value } = Object.fromEntries(
      [...fields(entry)].map(([number, text]) => [number, new TextDecoder().decode(text)]),
    );
    if (key?.startsWith("hw2.")) found[key.slice(4)] = JSON.parse(value);
  }
  return found;
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
function known(symbols, vocabulary) {
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
    console.error(`note: unknown, read as <unk>: ${symbol}${hint}`);
    return symbol;
  });
}

/** Lower case, no accents, a space before each of .!? and in place of other punctuation. */
function cleanSentence(text) {
  const plain = text.toLowerCase().normalize("NFD").replace(/\p{Mn}/gu, "");
  return plain.replace(/[.!?]/g, " $&").replace(/[^\p{L}\p{N}_.!?]+/gu, " ");
}

/** What the file reads: symbols between spaces (a speller), or code points (a translator). */
function sourceTensor(session, { symbols: vocabulary }) {
  if (session.inputNames.includes("text")) {
    const symbols = known(source.normalize("NFC").trim().split(/\s+/u), vocabulary);
    return { text: new ort.Tensor("string", [symbols.join(" ")], [1]) };
  }
  const characters = known([...cleanSentence(source)], vocabulary);
  const points = characters.map((character) => character.codePointAt(0));
  return { codepoints: new ort.Tensor("int32", points, [1, points.length]) };
}

const bytes = await readFile(file).catch((error) => fail(error.message));
const session = await ort.InferenceSession.create(bytes).catch((error) => fail(error.message));
if (!session.inputNames.includes("num_beams")) fail(`${file} is no speller and no translator`);
const { text_out: texts, scores } = await session.run({
  ...sourceTensor(session, facts(bytes)),
  num_beams: int64(beams),
  max_length: int64(longest),
});
texts.data.forEach((found, i) => {
  const score = scores.data[i]; // -Infinity where fewer texts than beams exist
  if (score > -Infinity) console.log(`  ${score.toFixed(4).padStart(8)}  ${found}`);
});
