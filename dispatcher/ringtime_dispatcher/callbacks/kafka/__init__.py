"""The `kafka` callback type, the one that imports aiokafka."""
