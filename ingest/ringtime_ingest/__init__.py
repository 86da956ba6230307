"""The stateless side: takes requests, files schedules, answers when they are durable.

`http` is the transport, above `service`, which does what is asked; `main` puts them together for a pod. It
talks to the store only: what a dispatcher knows, it knows from there.
"""
