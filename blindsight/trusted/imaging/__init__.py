"""Images as arrays: decoding, filters, morphology, keypoints and drawings."""
