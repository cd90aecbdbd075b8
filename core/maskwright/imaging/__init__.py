"""Image files to upright 8-bit RGB arrays, sizes and windows, contrast."""
