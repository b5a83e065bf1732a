"""What streamed steps cost: alone, in chunks, in batches of streams, against deadlines, and in memory."""
