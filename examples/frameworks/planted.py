"""Lose a part of a checkpoint, then run the command that resumes from it:

python planted.py no-optimizer out/checkpoint-15 -- python hf_trainer.py --output-dir out --resume out/checkpoint-15
"""

import subprocess
import sys
from pathlib import Path

FILES = {"no-optimizer": "optimizer.pt", "no-scheduler": "scheduler.pt", "no-rng": "rng_state.pth"}


def without_moments(path: Path) -> None:
    """Leave the optimizer's groups in a file of Lightning's or Accelerate's, and empty what it keeps by parameter."""
    import torch

    checkpoint = torch.load(path, weights_only=False)
    for optimizer in checkpoint.get("optimizer_states", [checkpoint]):
        optimizer["state"] = {}
    torch.save(checkpoint, path)


def main() -> int:
    lost, checkpoint, _, *command = sys.argv[1:]
    path = Path(checkpoint)
    if lost == "no-moments":
        without_moments(path / "optimizer.bin" if path.is_dir() else path)
    else:
        (path / FILES[lost]).unlink()
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
