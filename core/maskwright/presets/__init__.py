"""Presets: folders of `config.json`, weights and tokenizer, as loaded models; and their import from authors' files."""
