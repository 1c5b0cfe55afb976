#!/usr/bin/env python3
"""Writes the licences of everything that the binary contains, each text once, with those that it is of.

    packaging/notices.py TARGET > third-party.txt

A crate that brings the source of a C library (`zeromq-src`) is a dependency of a build script: it is looked for there.
"""

import collections
import json
import pathlib
import subprocess
import sys

NAMES = ("LICENSE", "LICENCE", "COPYING", "UNLICENSE", "NOTICE", "COPYRIGHT")
# Where crates that bring the source of others keep it.
FOLDERS = ("", "LICENSES", "vendor", "libzmq")


def main(target):
    words = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    metadata = json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    root = metadata["resolve"]["root"]
    found = [packages[one] for one in contained(metadata, packages) if one != root]
    found.sort(key=lambda package: (package["name"], package["version"]))
    texts = collections.defaultdict(list)
    print("latency-monitor is under the Apache License 2.0. Its binary contains these components.\n")
    print("The standard library of Rust: MIT OR Apache-2.0\n    https://github.com/rust-lang/rust")
    for package in found:
        name = f"{package['name']} {package['version']}"
        files = licence_files(package)
        print(f"{name}: {package['license']}" + ("" if files else "; its package has no text of that"))
        if package["repository"]:
            print(f"    {package['repository']}")
        for file in files:
            texts[squeezed(file)].append((name, file))
    for of in texts.values():
        print("\n" + "=" * 78)
        print(", ".join(dict.fromkeys(name for name, _ in of)) + "\n")
        print(of[0][1].read_text(errors="replace").strip())


def contained(metadata, packages):
    """Returns the ids of all that is linked into the binary."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, left = set(), [metadata["resolve"]["root"]]
    while left:
        one = left.pop()
        if one in found:
            continue
        found.add(one)
        for dependency in nodes[one]["deps"]:
            kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
            brings_source = "build" in kinds and packages[dependency["pkg"]]["name"].endswith("-src")
            is_macro = any("proc-macro" in target["kind"] for target in packages[dependency["pkg"]]["targets"])
            if (None in kinds and not is_macro) or brings_source:
                left.append(dependency["pkg"])
    return found


def licence_files(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    inside = [path for name in FOLDERS if (folder / name).is_dir() for path in (folder / name).iterdir()]
    return sorted(path for path in inside if path.is_file() and path.name.upper().startswith(NAMES))


def squeezed(path):
    """What makes two texts the same one: line ends and indents do not count."""
    return " ".join(path.read_text(errors="replace").split())


if __name__ == "__main__":
    main(sys.argv[1])
