"""Training and fine-tuning: labelled images in, preset folder out.

`recipes` holds the entry points, `config` their settings, `data` the batches, and `loop` the optimisation that all
share. `clicks`, `dinov3seg` and `projection` each train one model, `finetune` that of a project, whose images
`split` divides. `losses` holds the text loss, `vocabulary` the classes, `prompts` their templates, and `captions`
captioned images.
"""
