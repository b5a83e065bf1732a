"""Training and evaluation of one model: data, model, optimizer, schedule, loop and evaluation."""
