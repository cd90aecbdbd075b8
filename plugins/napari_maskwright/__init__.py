"""Maskwright in napari; this version brings the sample photographs, the dock widget is to come."""
