"""Checkpoint folders.

    <name>/config.json            format version, the resolved configuration, hashes, sizes, provenance, scores
    <name>/model.safetensors      averaged weights of a separator (conditioner, predictor, U-Net, whitening, ...)
    <name>/codec.safetensors      weights of the codec, where it was trained here
    <name>/whitening.safetensors  in the folder of a codec: the constants that separators trained on it start from
    <name>/README.md              the model card

Only safetensors is read: a checkpoint cannot run code. What is written is complete, what is read is checked.
"""
