"""Networks and algorithms, one file per paper: tensors in, tensors out. They know no preset."""
