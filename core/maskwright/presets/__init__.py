"""Presets: a folder of `config.json`, weights and tokenizer as loaded models, and the authors' files they come from."""
