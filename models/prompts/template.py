"""The prompt template that training, evaluation and generation share."""

TEMPLATE_NAME = "pagewright-1"
"""Stored with every adapter, since a model must be served with the template that it was trained with."""


def build_prompt(instruction: str, input: str = "") -> str:
    """Return the prompt text of a row, which the model completes with the output and an end-of-sequence token.

    The input section is left out if `input` is empty or blank.
    """
    sections = [f"### Instruction:\n{instruction.strip()}"]
    if input.strip():
        sections.append(f"### Input:\n{input.strip()}")
    return "\n\n".join([*sections, "### Response:\n"])
