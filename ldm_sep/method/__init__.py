"""The method of the LDM-dmx paper, and what goes beyond it: diffusion, whitening, level, refinement, the model."""
