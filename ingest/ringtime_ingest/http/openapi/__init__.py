"""The OpenAPI 3.1 document, made from the tables the parser works by.

| module | has |
|---|---|
| `document` | the whole, made for one server |
| `operation` | one operation, and what operations have in common |
| `schedules`, `apps`, `recurring`, `operating` | the entries of a subject, in the document's order |
"""

from ringtime_ingest.http.openapi.document import openapi_document, to_bytes
from ringtime_ingest.http.openapi.operation import NAMED, Document

__all__ = ["NAMED", "Document", "openapi_document", "to_bytes"]
