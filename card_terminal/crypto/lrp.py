"""The Leakage Resilient Primitive (NXP AN12304): what chips in LRP mode do in place of CBC and CMAC.

Our cards are not set to LRP; the server can read those that are. Nibbles are written as hex digits, because inputs of
half a byte exist.
"""

from collections.abc import Iterator

from card_terminal.crypto.aes import BLOCK_BYTES, decrypt_cbc, double, encrypt_block, pad, unpad, xor

PLAINTEXTS = 16
UPDATED_KEYS = 4

_FIVES = bytes([0x55]) * BLOCK_BYTES
_TENS = bytes([0xAA]) * BLOCK_BYTES


def plaintexts(key: bytes) -> tuple[bytes, ...]:
    """Give the sixteen secret plaintexts of a key (AN12304, algorithm 1)."""
    return tuple(_chain(encrypt_block(_FIVES, key=key), PLAINTEXTS))


def updated_keys(key: bytes, *, count: int = UPDATED_KEYS) -> tuple[bytes, ...]:
    """Give the first updated keys of a key (AN12304, algorithm 2)."""
    return tuple(_chain(encrypt_block(_TENS, key=key), count))


def evaluate(nibbles: str, *, plains: tuple[bytes, ...], updated_key: bytes, final: bool = True) -> bytes:
    """Give the output for an input of hex digits (AN12304, algorithm 3). Raises ValueError for another digit."""
    found = updated_key
    for nibble in nibbles:
        found = encrypt_block(plains[int(nibble, 16)], key=found)
    return encrypt_block(bytes(BLOCK_BYTES), key=found) if final else found


def encrypt(plain: bytes, *, key: bytes, counter: bytes, key_number: int = 0, padded: bool = True) -> bytes:
    """Encrypt in LRICB mode; `counter` goes up by one with each block. Raises ValueError on a part of a block."""
    whole = pad(plain) if padded else plain
    masks = _masks(key, counter=counter, key_number=key_number)
    return b"".join(encrypt_block(block, key=mask) for block, mask in zip(_blocks(whole), masks, strict=False))


def decrypt(encrypted: bytes, *, key: bytes, counter: bytes, key_number: int = 0, padded: bool = True) -> bytes:
    """Undo `encrypt`. Raises ValueError on a part of a block, and where the padding is broken."""
    masks = _masks(key, counter=counter, key_number=key_number)
    plain = b"".join(decrypt_cbc(block, key=mask) for block, mask in zip(_blocks(encrypted), masks, strict=False))
    return unpad(plain) if padded else plain


def lrp_cmac(message: bytes, *, key: bytes, key_number: int = 0) -> bytes:
    """Give the CMAC of 16 bytes with LRP in the place of AES."""
    plains, updated_key = plaintexts(key), updated_keys(key)[key_number]
    whole_subkey = double(evaluate("00" * BLOCK_BYTES, plains=plains, updated_key=updated_key))
    if message and len(message) % BLOCK_BYTES == 0:
        filled, subkey = message, whole_subkey
    else:
        filled, subkey = pad(message), double(whole_subkey)
    *before, last = _blocks(filled)
    state = bytes(BLOCK_BYTES)
    for block in [*before, xor(last, subkey)]:
        state = evaluate(xor(state, block).hex(), plains=plains, updated_key=updated_key)
    return state


def session_master_key(key: bytes, *, rnd_a: bytes, rnd_b: bytes) -> bytes:
    """Give the master key of a session after AuthenticateLRPFirst (NT4H2421Gx, 9.2.7)."""
    context = rnd_a[:2] + xor(rnd_a[2:8], rnd_b[:6]) + rnd_b[6:] + rnd_a[8:]
    return lrp_cmac(bytes.fromhex("00010080") + context + bytes.fromhex("9669"), key=key)


def _chain(key: bytes, count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield encrypt_block(_TENS, key=key)
        key = encrypt_block(_FIVES, key=key)


def _masks(key: bytes, *, counter: bytes, key_number: int) -> Iterator[bytes]:
    plains, updated_key = plaintexts(key), updated_keys(key)[key_number]
    number, modulus = int.from_bytes(counter), 1 << (8 * len(counter))
    while True:
        yield evaluate(number.to_bytes(len(counter)).hex(), plains=plains, updated_key=updated_key)
        number = (number + 1) % modulus


def _blocks(data: bytes) -> list[bytes]:
    if not data or len(data) % BLOCK_BYTES:
        raise ValueError("LRP works on whole blocks of 16 bytes")
    return [data[place : place + BLOCK_BYTES] for place in range(0, len(data), BLOCK_BYTES)]
