"""HTML of the page, made from plain values; every name is escaped."""
