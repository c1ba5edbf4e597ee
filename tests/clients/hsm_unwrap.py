"""Unwraps rows of a keyring through the token itself, as the server's worker does and with none of its code.

usage: SOFTHSM2_CONF=... hsm_unwrap.py MODULE PIN_FILE < lines of "wrapped-key-hex context-sha256-hex" > 32 bytes each

A process of its own, since a PKCS#11 module reads its configuration once. It writes keys only into a pipe: a terminal
is refused, and no message is made from a key.
"""

import sys
from pathlib import Path

import pkcs11

FORMAT, AES_GCM_RUNG, IV_IN_FRONT = 1, 1, 1


def taken_apart(wrapped: bytes) -> tuple[bytes, bytes, bytes, int]:
    """CKA_ID, IV, ciphertext with tag, tag length: as docs/hsm.md writes a wrapped key."""
    assert wrapped[0] == FORMAT and wrapped[1] == AES_GCM_RUNG, "unknown format or rung"
    own = wrapped[22:]
    assert len(own) == int.from_bytes(wrapped[18:22], "big"), "wrong length"
    assert own[0] == IV_IN_FRONT, "unknown place of the IV"
    iv_len, tag_len = own[1], own[2]
    return wrapped[2:18], own[3 : 3 + iv_len], own[3 + iv_len :], tag_len


def main(module: str, pin_file: str) -> None:
    if sys.stdout.isatty():
        raise SystemExit("keys go into a pipe, never onto a terminal")
    library = pkcs11.lib(module)
    (token,) = [
        slot.get_token()
        for slot in library.get_slots(token_present=True)
        if pkcs11.TokenFlag.TOKEN_INITIALIZED in slot.get_token().flags
    ]
    with token.open(user_pin=Path(pin_file).read_text().strip()) as session:
        for line in sys.stdin:
            wrapped, context = map(bytes.fromhex, line.split())
            key_id, iv, sealed, tag_len = taken_apart(wrapped)
            master = session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, id=key_id)
            assert master[pkcs11.Attribute.EXTRACTABLE] is False and master[pkcs11.Attribute.SENSITIVE] is True
            parameters = pkcs11.GCMParams(iv, context, tag_bits=tag_len * 8)
            key = master.decrypt(sealed, mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=parameters)
            sys.stdout.buffer.write(key)


if __name__ == "__main__":
    main(*sys.argv[1:])
