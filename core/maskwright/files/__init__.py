"""Files on disk: atomic writes, names, content hashes."""
