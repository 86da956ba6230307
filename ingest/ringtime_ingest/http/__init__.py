"""The transport: requests in, answers out. `create_app` in `app` is all that others need of it."""
