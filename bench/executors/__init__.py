"""Execute jobs in worker processes, on this machine or on a dask cluster."""
