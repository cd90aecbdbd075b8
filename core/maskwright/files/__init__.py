"""Files on disk: atomic writes, file names, content hashes."""
