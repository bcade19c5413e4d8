"""GPTQ: a model's weights in a few bits each, and what that costs."""
