"""The model that a user holds: scenes and words in, scores, masks and pictures out."""
