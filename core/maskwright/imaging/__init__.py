"""Images as arrays: reading files upright and in 8 bit, sizes and windows, contrast."""
