"""Reproducible evaluation of text, example and click prompts; speed, memory and model size."""
