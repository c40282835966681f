"""The training loop on Accelerate: phases, optimisers, checkpoints. It knows pieces by their contracts only."""
