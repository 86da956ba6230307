"""What the image holds of others: `python -m ringtime_local.sbom` writes it, CycloneDX, from `image.lock`.

It lies in the image beside what it lists, and a label says where. The system's own packages are not in it:
scanners read those from the image themselves.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

INFRA = Path(__file__).parents[1]
LOCK = INFRA / "image.lock"
FILE = INFRA / "image.cdx.json"


def bill(lock: str) -> str:
    """Return the bill of what a lock file pins; the same text for the same lock."""
    pins = sorted(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", lock, re.MULTILINE))
    components = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{version}",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name}@{version}",
        }
        for name, version in pins
    ]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": "ringtime", "name": "ringtime"}},
        "components": components,
        "dependencies": [
            {"ref": "ringtime", "dependsOn": [each["bom-ref"] for each in components]},
        ],
    }
    return json.dumps(document, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(bill(LOCK.read_text(encoding="utf-8")), encoding="utf-8")
