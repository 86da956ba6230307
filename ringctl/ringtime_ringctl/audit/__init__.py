"""`ringctl audit`: who changed what, and when; `ringtime_shared.auditing` says how it is written.

command     list, show, export
export      the entries as records of a Kafka topic
"""
