import ort from "onnxruntime-node";

const session = await ort.InferenceSession.create("results/onnx/p2g_attention.onnx");
const { text_out, scores } = await session.run({
  text: new ort.Tensor("string", ["d ɪ s k ʌ v ə ɹ"], [1]),
  num_beams: new ort.Tensor("int64", [5n], []),
  max_length: new ort.Tensor("int64", [50n], []),
});
text_out.data.forEach((text, i) => console.log(scores.data[i].toFixed(3), text));
