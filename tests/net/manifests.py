"""Holds manifests of Kubernetes against the API's schemas, and prints them as JSON, one a line. Runs in target/net-venv.

    python manifests.py VERSION FILE ...
"""

import json
import pathlib
import sys

import kubernetes_validate
import yaml

# No schema of the API has these.
OTHERS = {"Kustomization", "PodMonitor"}


def main(version, *paths):
    for path in paths:
        for document in yaml.safe_load_all(pathlib.Path(path).read_text()):
            if document["kind"] not in OTHERS:
                kubernetes_validate.validate(document, version, strict=True)
            print(json.dumps({"file": pathlib.Path(path).name, **document}))


main(*sys.argv[1:])
