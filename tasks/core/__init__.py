"""What all tasks share: the task contract, the registry, descriptions."""
