from export.runtime import load

spell = load("results/onnx/p2g_attention.onnx")
for letters in spell.stream("m a ɪ k ɹ ə s k o ʊ p"):
    print(letters, end="", flush=True)
