"""Metrics on embeddings, in NumPy: zero-shot accuracy, agreement, AUC, retrieval, calibration. It knows nothing above it."""
