"""Reading the rows of owned poller instances in time, and proving that none was missed."""
