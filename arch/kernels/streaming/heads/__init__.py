"""One step of layers of heads with a matrix memory each: one file per architecture, and the parts that they share."""
