"""Training data: tracks from folders and tables, decoded once into a bank, mixed into batches on the device."""
