"""Linear recurrent units: whole layers of `lru` and `rg_lru`, in one function each."""
