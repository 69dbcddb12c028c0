"""The networks: the denoising U-Net, the one of audio-diffusion-pytorch, the mask predictor."""
