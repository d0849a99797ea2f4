from export.runtime import load

spell = load("results/onnx/p2g_attention.onnx")
print(spell("h ə l o ʊ"))  # the best spelling
for spelling, score in spell("h ə l o ʊ", num_beams=5, n_best=3):
    print(f"{score:.3f} {spelling}")

translate = load("results/onnx/translate_attention.onnx")
print(translate(["quiero un cafe .", "me gusta leer ."]))  # two sentences
