from export.runtime import load

spell = load("results/onnx/p2g_attention.onnx")
print(spell("m a ɪ k ɹ ə s k o ʊ p"))  # microscope
print(spell("d ɪ s k ʌ v ə ɹ"))  # greedy search: discuver
for spelling, score in spell("d ɪ s k ʌ v ə ɹ", num_beams=5, n_best=3):
    print(f"{score:.3f} {spelling}")

translate = load("results/onnx/translate_attention.onnx")
print(translate(["quiero un cafe .", "me gusta leer ."]))  # two sentences
