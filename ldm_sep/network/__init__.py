"""The networks: the denoising U-Net, the one of audio-diffusion-pytorch, the mask predictor.

In this room a *level* is one resolution of a U-Net, as the field calls it. Everywhere else the word means loudness.
"""
