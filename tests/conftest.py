"""One thread, so that a test gives the same numbers on every machine and leaves the others their cores."""

import torch

torch.set_num_threads(1)
