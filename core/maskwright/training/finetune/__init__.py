"""Fine-tuning on the accepted masks of a project: the model that answers is the model that learns."""
