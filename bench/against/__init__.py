"""Measure two versions of Carousel in turns: fresh processes of both alternate, until each case is decided."""
