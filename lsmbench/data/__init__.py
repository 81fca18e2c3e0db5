"""What all datasets share: files, decoding, cache, split, supervision and batches."""
