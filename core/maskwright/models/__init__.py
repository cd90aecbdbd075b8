"""Networks and their files: one file per paper; tensors in, tensors out."""
