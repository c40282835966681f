"""Samples, batches and the teacher cache: from references on disk to tensors of one step."""
