"""What all figures share: canvas, styles, axes, alternative texts."""
