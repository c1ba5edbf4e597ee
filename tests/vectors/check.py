"""Holds tests/open.py against every vector of this folder, found by listing it. Prints what differs; exit 1 if any."""

import importlib.util
import io
import pathlib

FOLDER = pathlib.Path(__file__).parent
spec = importlib.util.spec_from_file_location("opener", FOLDER.parent / "open.py")
opener = importlib.util.module_from_spec(spec)
spec.loader.exec_module(opener)
NAMES = {opener.Refused: "refused", opener.UnknownFormat: "unknown-format"}


def read(path):
    fields = (line.split(":", 1) for line in path.read_text().splitlines())
    return {name: value.strip() for name, value in fields}


def outcome(vector):
    """What the opener makes of a vector: ("opened", plaintext) or the name of a refusal."""
    context = opener.context_sha256(int(vector["kind"]), *(bytes.fromhex(vector[name]) for name in (
        "store-id", "bucket-id", "object-key", "write-id")), int(vector["part-number"]), int(vector["layer"]))
    assert context.hex() == vector["context"], "the context is encoded otherwise"
    key, sealed = bytes.fromhex(vector["key"]), bytes.fromhex(vector["sealed"])
    try:
        if vector["form"] == "small":
            return "opened", opener.open_small(sealed, key, vector["label"].encode(), context).hex()
        return "opened", b"".join(opener.open_stream(io.BytesIO(sealed), len(sealed), key, context)).hex()
    except tuple(NAMES) as refusal:
        return NAMES[type(refusal)], ""


def main():
    paths = sorted(FOLDER.glob("*.txt"))
    vectors = [(path.name, read(path)) for path in paths]
    differing = [f"{name}: expected {vector['expect']} ({vector['why']}), got {outcome(vector)[0]}"
                 for name, vector in vectors if outcome(vector) != (vector["expect"], vector.get("plain", ""))]
    print("\n".join(differing) or f"{len(vectors)} vectors, all as expected")
    raise SystemExit(bool(differing) or not vectors)


if __name__ == "__main__":
    main()
