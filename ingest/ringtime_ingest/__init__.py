"""The stateless side: takes requests, files schedules, answers when they are durable.

It talks to the store only. `commit` holds the promise that an acknowledged row will be seen by a
dispatcher; the rest is parsing, rules and wording.
"""
