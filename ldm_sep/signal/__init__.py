"""Signal processing on waves: transforms, stereo, windows, levels, and the noise field of a stream."""
