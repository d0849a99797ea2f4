// A source text -> what a file takes, exactly as export/runtime.py prepares it.

// What Python's str.split() splits at.
const WHITE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u;
const UNKNOWN = 0xfffd; // stands for a character that no vocabulary holds

/** The symbols of a speller's text, or a sentence's characters with their combining marks. */
export function split(text, model) {
  if (model.source_kind === "speller") return symbols(text);
  const read = model.cleaned ? cleanSentence(text) : text.normalize("NFC");
  return read.match(/\P{M}\p{M}*|\p{M}+/gu) ?? [];
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
export function tokens(text, kind) {
  if (kind === "captioner") return text.split(" ").filter(Boolean);
  return text.match(/<unk>|\P{M}\p{M}*|\p{M}+/gu) ?? [];
}
