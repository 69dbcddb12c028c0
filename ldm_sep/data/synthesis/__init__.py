"""Training data made of data: augmented waves, voices led along melodies, rendered MIDI, intoned speech."""
