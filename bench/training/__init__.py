"""Train and evaluate one model: data, model, optimizer, schedule, loop and evaluation."""
