"""Secrets at rest: what is kept encrypted, under which key, and where it is read again.

| module | has |
|---|---|
| `keyring` | the keys, and one text encrypted and decrypted |
| `ed25519` | private keys that callbacks are signed with: made, and used |
| `records` | what of a row, a definition and an app is encrypted, and what each ciphertext is bound to |
| `store` | a store for those who take requests: encrypts what it writes, decrypts what it reads |
| `rotation` | everything stored under the primary key: `ringctl secrets rotate` |

A secret is encrypted by the process that takes it from a client, before the store sees it, and decrypted by
the dispatcher for the length of one attempt. What a dispatcher reads, files again, tells hooks and keeps in
memory stays encrypted. Who is shown a record sees what is stored beside the ciphertext: names, and `***`.

Invariant. A ciphertext can be decrypted only in its own place: of this app, for this field, of this row, and
credentials beside the same visible rest (URL, method, names of headers). So who can write to the store can
neither move a secret to a row of another app nor have credentials sent elsewhere by another URL in their own
row: they cannot be decrypted then, and nothing is sent.

That is not so of payloads. Who can write to the store can give a row, or a hook with `includePayload`,
another URL without credentials, and have a payload sent there, signed; an app and its hooks are plain text
that nothing vouches for.

| what fails | what happens |
|---|---|
| a key is in no ring here | the attempt fails and says so; tried again by policy, then a dead letter |
| a ciphertext, or what stands beside it, was altered | the same |
| a signing secret of an app cannot be decrypted | the same for the app's callbacks: none is sent unsigned |
| the key file is damaged at a start | the process does not start |
| the key file is damaged while it runs | it goes on with the keys it has |
| rotation is killed | what it wrote is whole; the next run passes over it |
| a row changes while it is rotated | the write is conditional and not made; the next pass looks again |
"""
