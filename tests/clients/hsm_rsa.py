"""What the RSA keys of a token do, by no code of the server's.

usage: hsm_rsa.py modulus MODULE PIN_FILE CKA_ID | hsm_rsa.py decrypt MODULE PIN_FILE CKA_ID CIPHERTEXT

Identifiers and ciphertext are hexadecimal; the answer is bytes, into a pipe. A process of its own, since a module reads
its environment once.
"""

import sys
from pathlib import Path

import pkcs11
from pkcs11 import MGF, Attribute, Mechanism, ObjectClass


def main(what: str, module: str, pin_file: str, key_id: str, ciphertext: str = "") -> None:
    if sys.stdout.isatty():
        raise SystemExit("keys go into a pipe, never onto a terminal")
    (token,) = pkcs11.lib(module).get_tokens()
    with token.open(user_pin=Path(pin_file).read_text().strip()) as session:
        # Of the two key pairs of a master key this is the one that decrypts.
        wanted = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: bytes.fromhex(key_id), Attribute.DECRYPT: True}
        (key,) = session.get_objects(wanted)
        if what == "modulus":
            answer = key[Attribute.MODULUS]
        else:
            parameters = (Mechanism.SHA256, MGF.SHA256, None)
            answer = key.decrypt(bytes.fromhex(ciphertext), mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=parameters)
        sys.stdout.buffer.write(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
