"""From a row that was read to its durable outcome."""
