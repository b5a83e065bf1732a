"""Real regressions, planted into a copy of the project, and checks that Carousel reports them and nothing else."""
