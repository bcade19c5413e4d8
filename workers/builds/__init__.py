"""Fine-tune, merge and quantization jobs: each makes a model in a process of its own."""
