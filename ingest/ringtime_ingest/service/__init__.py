"""What clients can ask for, without any transport. The routes and the library call `IngestService`."""
