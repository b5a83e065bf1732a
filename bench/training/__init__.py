"""Train one model: data, schedule, optimizer, loop, evaluation."""
