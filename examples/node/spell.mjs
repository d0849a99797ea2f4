// Spells phonemes, or translates a sentence, with one exported file and onnxruntime-node:
//
//   node spell.mjs FILE.onnx "h ə l o ʊ" [NUM_BEAMS [MAX_LENGTH]]
//
// prints up to NUM_BEAMS (default 5) texts with their scores, best first. Search and vocabulary are
// inside the file; all that is left to do is to write the text as the training data were written.

import ort from "onnxruntime-node";

const isCount = (text) => /^[1-9]\d*$/.test(text);
const fail = (message) => {
  console.error(message);
  process.exit(2);
};

const [file, source = "", beams = "5", longest = "50"] = process.argv.slice(2);
if (!source.trim() || !isCount(beams) || !isCount(longest)) {
  fail('expected: node spell.mjs FILE.onnx "h ə l o ʊ" [NUM_BEAMS [MAX_LENGTH]]');
}

const int64 = (number) => new ort.Tensor("int64", [BigInt(number)], []);

/** Lower case, no accents, a space before each of .!? and in place of other punctuation. */
function cleanSentence(text) {
  const plain = text.toLowerCase().normalize("NFD").replace(/\p{Mn}/gu, "");
  return plain.replace(/[.!?]/g, " $&").replace(/[^\p{L}\p{N}_.!?]+/gu, " ");
}

/** What the file reads: symbols between spaces (a speller), or code points (a translator). */
function sourceTensor(session) {
  if (session.inputNames.includes("text")) {
    const symbols = source.normalize("NFC").trim().split(/\s+/u).join(" ");
    return { text: new ort.Tensor("string", [symbols], [1]) };
  }
  const points = Array.from(cleanSentence(source), (character) => character.codePointAt(0));
  return { codepoints: new ort.Tensor("int32", points, [1, points.length]) };
}

const session = await ort.InferenceSession.create(file).catch((error) => fail(error.message));
if (!session.inputNames.includes("num_beams")) fail(`${file} is no speller and no translator`);
const { text_out: texts, scores } = await session.run({
  ...sourceTensor(session),
  num_beams: int64(beams),
  max_length: int64(longest),
});
texts.data.forEach((found, i) => {
  const score = scores.data[i]; // -Infinity where fewer texts than beams exist
  if (score > -Infinity) console.log(`  ${score.toFixed(4).padStart(8)}  ${found}`);
});
