"""How the starter model was made: its data, its tokenizer, its training."""
