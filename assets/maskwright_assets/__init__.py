"""Data that comes with Maskwright: the tiny preset, sample images with their licences, vocabulary and prompts."""
