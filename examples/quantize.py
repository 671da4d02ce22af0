"""Quantize a model in memory: `python examples/quantize.py` (half a minute).

The embedded model stands for any LLaVA, Qwen2.5-VL, Llama or Qwen2 model of transformers.
"""

import itertools

from transformers import AutoModelForImageTextToText, AutoProcessor

import luq
from harness.paths import EMBEDDED
from tasks.mini.calibration import picture_prompts
from tasks.mini.suites import suite_rows

model = AutoModelForImageTextToText.from_pretrained(EMBEDDED, dtype="float32").eval()
processor = AutoProcessor.from_pretrained(EMBEDDED, backend="pil")


def inputs_of(picture, question):
    """What the model's processor makes of a question about a picture."""
    content = [{"type": "image"}, {"type": "text", "text": question}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    return processor(text=prompt, images=picture.convert("RGB"), return_tensors="pt")


def right(rows):
    """Per cent of the questions that the model answers correctly."""
    answers = []
    for row in rows:
        inputs = inputs_of(row["image"], row["question"])
        tokens = model.generate(**inputs, max_new_tokens=8, do_sample=False)
        answer = processor.decode(tokens[0, inputs["input_ids"].shape[1] :])
        answers.append(row["answer"] in answer)
    return 100 * sum(answers) / len(answers)


calibration = [inputs_of(*one) for one in itertools.islice(picture_prompts(seed=0), 40)]
questions = suite_rows("gqa", 20, seed=1)

print(f"full precision: {right(questions):.0f} % right")
for quantizer in (luq.GPTQ(bits=3), luq.LUQ(k=4, order="depth"), luq.BiLLM()):
    with luq.quantize(model, quantizer, calibration) as quantized:
        print(
            f"{type(quantizer).__name__}: {right(questions):.0f} % right, "
            f"{quantized.stored_bits:.3f} stored bits, {quantized.paper_bits:.2f} paper bits"
        )
print(f"restored: {right(questions):.0f} % right")
