"""LoRA fine-tuning: trains a PEFT adapter on a dataset's rows."""
