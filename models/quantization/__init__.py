"""GPTQ quantization: stores a model's weights in a few bits each, and measures the effect."""
