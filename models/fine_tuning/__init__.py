"""LoRA fine-tuning: rows go in, a PEFT adapter comes out."""
