"""How the starter model in `models/starter` was made: generated rows, tokenizer, training. In no wheel and no image."""
