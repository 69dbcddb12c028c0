"""Training data: tracks from folders and tables, decoded once, mixed into batches on the device."""
