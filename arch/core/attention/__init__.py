"""State and positions of attention layers."""
