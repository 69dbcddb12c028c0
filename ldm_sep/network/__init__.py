"""The networks: the denoising U-Net, that of audio-diffusion-pytorch, the mask predictor, the post-filter.

In this package a *level* is one resolution of a U-Net, as the field calls it. Exceptions are "the networks' level" and
the levels of bands in `post_filter`, which are loudness, as the word is everywhere else.
"""
