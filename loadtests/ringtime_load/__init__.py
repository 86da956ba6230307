"""Load from the outside: Locust creates and cancels, a receiver takes the callbacks, and both are compared.

`main` (`./run load`) starts a cluster and `session` plays one run against it; `plan` says how much is asked
and what is good enough; `locustfile` is what Locust runs; `receiver` takes callbacks, over HTTP and Kafka.
Both write `ledgers`, one line an event; `account` compares them, without I/O; `report` draws what it found.
"""
