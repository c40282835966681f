"""`python -m edgefw`, for launchers that start modules (`accelerate launch -m edgefw run ...`)."""

from edgefw.cli.main import main

if __name__ == "__main__":
    main()
