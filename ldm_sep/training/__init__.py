"""Training of codecs and separators: loop, state on disk, starts, objectives, validation."""
