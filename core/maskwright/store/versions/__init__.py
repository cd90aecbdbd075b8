"""One module for each version of the tables; a revision's name begins with the Maskwright version that brought it."""
