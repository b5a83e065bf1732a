"""Lock, timer, noise, memory and environment of the measuring machine, and the identity of the measuring code."""
