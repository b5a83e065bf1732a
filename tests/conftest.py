"""One thread, so that a test gives the same numbers on every machine and leaves the others their cores.

And Ctrl-C works: a shell that puts the tests into the background has them, and what they start, ignore it.
"""

import signal

import torch

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
