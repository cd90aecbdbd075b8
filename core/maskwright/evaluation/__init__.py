"""Reproducible evaluation protocols by text, by example and by click; speed, memory and model size."""
