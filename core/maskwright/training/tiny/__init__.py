"""Training of the bundled preset from pretrained networks: `stages` runs the other modules in turn."""
