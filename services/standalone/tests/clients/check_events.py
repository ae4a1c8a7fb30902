"""Holds events that went over the wire against the AsyncAPI document.

Arguments: the document, and a file with one JSON object a line: `channel`, `action` (receive, reply or send, as the
server sees it), `event`, `payload`, `headers`. What the document knows and nobody saw is an error, too.
"""

import json
import sys

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

DOCUMENT = "urn:asyncapi"


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def resolve(document, node):
    """Follows references inside the document; fails at one that leads nowhere."""
    while "$ref" in node:
        reference = node["$ref"].removeprefix("#/").split("/")
        node = document
        for part in reference:
            node = node[part]
    return node


def resolves_everywhere(document, node):
    if isinstance(node, dict):
        if "$ref" in node:
            resolve(document, node)
        for child in node.values():
            resolves_everywhere(document, child)
    elif isinstance(node, list):
        for child in node:
            resolves_everywhere(document, child)


def absolute(node):
    """A schema of the document, with its references made absolute."""
    if isinstance(node, dict):
        return {key: f"{DOCUMENT}{value}" if key == "$ref" else absolute(value) for key, value in node.items()}
    return [absolute(child) for child in node] if isinstance(node, list) else node


class Channel:
    """The events of one channel, by what is done with them."""

    def __init__(self, document, name):
        self.document = document
        self.registry = Registry().with_resource(DOCUMENT, Resource(document, DRAFT202012))
        self.known = {}
        for operation in document["operations"].values():
            if operation["channel"]["$ref"] != f"#/channels/{name}":
                continue
            replies = operation.get("reply", {}).get("messages", [])
            for action, messages in ((operation["action"], operation["messages"]), ("reply", replies)):
                for reference in messages:
                    message = resolve(document, reference)
                    self.known[action, message["name"]] = message
        listed = {resolve(document, message)["name"] for message in document["channels"][name]["messages"].values()}
        assert listed == {event for _, event in self.known}, f"{name}: {listed}"

    def check(self, line):
        what = line["action"], line["event"]
        assert what in self.known, f"not in the document: {line}"
        message = self.known[what]
        self.holds(message["payload"], line["payload"], line)
        self.holds(message.get("headers", {"type": "object"}), line["headers"], line)

    def holds(self, schema, value, line):
        # A member the document does not know is a mistake of ours, though clients ignore it.
        closed = {"allOf": [absolute(schema)], "unevaluatedProperties": False}
        validator = Draft202012Validator(
            closed, registry=self.registry, format_checker=Draft202012Validator.FORMAT_CHECKER
        )
        errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]
        assert not errors, f"{line}: {errors}"


def main():
    document = load(sys.argv[1])
    resolves_everywhere(document, document)
    seen = {}
    channels = {}
    for line in lines(sys.argv[2]):
        name = line["channel"]
        channels.setdefault(name, Channel(document, name)).check(line)
        seen.setdefault(name, set()).add((line["action"], line["event"]))
    for name, channel in channels.items():
        missing = channel.known.keys() - seen[name]
        assert not missing, f"nobody saw on {name}: {missing}"


main()
