"""The element-wise arithmetic of recurrent cells. Training and streaming kernels share it."""
