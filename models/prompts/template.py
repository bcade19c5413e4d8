"""The one prompt template. Training, evaluation and generation all build their prompts here."""

TEMPLATE_NAME = "pagewright-1"
"""Stored with every adapter: a model is served with the template that it was trained with."""


def build_prompt(instruction: str, input: str = "") -> str:
    """The text that a completion follows. An empty or blank `input` leaves its section out.

    The completion itself is the HTML and then the tokenizer's end-of-sequence token.
    """
    sections = [f"### Instruction:\n{instruction.strip()}"]
    if input.strip():
        sections.append(f"### Input:\n{input.strip()}")
    return "\n\n".join([*sections, "### Response:\n"])
