// A source text -> what a file takes, exactly as export/runtime.py prepares it.

// What Python's str.split() splits at.
const WHITE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u;
const UNKNOWN = 0xfffd; // stands for a character that no vocabulary holds

/** The symbols of a speller's text, or a sentence's characters with their combining marks. */
function parts(text, model) {
  if (model.source_kind !== "translator") return symbols(text);
  const read = model.cleaned ? cleanSentence(text) : text.normalize("NFC");
  return read.match(/\P{M}\p{M}*|\p{M}+/gu) ?? [];
}

/**
 * A text as the model reads it: its `symbols`; what was `changed` because it looks like one of the
 * model's, as a Map; and what is `unknown`.
 */
export function read(text, model) {
  const known = new Set(model.symbols);
  const alike = uniqueLooks(model.symbols);
  const found = parts(text, model);
  const foreign = [...new Set(found)].filter((symbol) => !known.has(symbol));
  const changed = new Map(
    foreign.filter((s) => alike.has(look(s))).map((s) => [s, alike.get(look(s))]),
  );
  return {
    symbols: found.map((symbol) => changed.get(symbol) ?? symbol),
    changed,
    unknown: foreign.filter((symbol) => !changed.has(symbol)),
  };
}

/** The symbols that the model reads; throws for one that it cannot. */
export function split(text, model) {
  const { symbols, unknown } = read(text, model);
  if (unknown.length && model.unknown === null) {
    throw new Error(`Unknown to the model, which reads nothing else: ${unknown.join(" ")}`);
  }
  return symbols;
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

/** The same for symbols that look alike, composed or not. */
const look = (symbol) => translate(symbol.normalize("NFD"), LOOKALIKES);

/** What a look stands for, where one symbol alone has it. */
function uniqueLooks(symbols) {
  const found = new Map();
  for (const symbol of symbols) {
    found.set(look(symbol), found.has(look(symbol)) ? null : symbol);
  }
  return new Map([...found].filter(([, symbol]) => symbol !== null));
}

/** A symbol without marks, length and case, in letters of the keyboard. */
const base = (symbol) =>
  translate(look(symbol).replace(/[\p{Mn}\p{Lm}\p{Sk}]/gu, "").toLowerCase(), BASES);

/** The shortest of the model's symbols that is written with the same letters, or undefined. */
export function nearest(symbol, model) {
  const rank = (s) => 2 * [...s].length + (s !== base(s));
  const near = model.symbols.filter((s) => base(s) && base(s) === base(symbol));
  return near.sort((a, b) => rank(a) - rank(b))[0];
}

/** A symbol with its code points: ɡ (U+0261). */
export function named(symbol) {
  const code = (c) => `U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  return `${symbol} (${Array.from(symbol, code).join(" ")})`;
}

const symbols = (text) => text.normalize("NFC").split(WHITE).filter(Boolean);

/** Lower case, no accents, a space before each of .!? and in place of other punctuation. */
function cleanSentence(text) {
  const plain = text.toLowerCase().normalize("NFD").replace(/\p{Mn}/gu, "");
  return plain.replace(/[.!?]/g, " $&").replace(/[^\p{L}\p{N}_.!?]+/gu, " ");
}

/** Whether there is nothing but white space. */
export const isBlank = (text) => symbols(text).length === 0;

/** One number for each character; 0 is padding, and a letter with a loose mark has none. */
export function codePoints(characters) {
  const isOne = (character) => [...character].length === 1 && character !== "\0";
  return Int32Array.from(characters, (c) => (isOne(c) ? c.codePointAt(0) : UNKNOWN));
}

/** The tokens of a text that a model wrote: words, or characters and "<unk>". */
export function tokens(text, model) {
  if ((model.separator ?? (model.source_kind === "captioner" ? " " : "")) === " ")
    return text.split(" ").filter(Boolean);
  return text.match(/<unk>|\P{M}\p{M}*|\p{M}+/gu) ?? [];
}
