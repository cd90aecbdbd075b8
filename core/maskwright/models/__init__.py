"""Networks and algorithms, one file per paper: tensors in, tensors out; no presets, no files, no images."""
