"""Codecs: waveform to latents and back, all behind the protocol of ``ldm_sep.codec.base``."""
