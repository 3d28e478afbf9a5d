"""Key diversification of NXP AN10922: one master key, another key in every card."""

from card_terminal.crypto.aes import BLOCK_BYTES, double, encrypt_block, encrypt_cbc, xor

INPUT_BYTES_MAX = 31

_PADDED_BYTES = 2 * BLOCK_BYTES
_HALF = BLOCK_BYTES // 2
# The constants in front of the input, by the length of the master key in bytes (AN10922 sections 2.2 to 2.4).
_CONSTANTS = {16: (0x01,), 24: (0x11, 0x12), 32: (0x41, 0x42)}


def diversify(diversification_input: bytes, *, master_key: bytes) -> bytes:
    """Give the key, as long as the master key, that belongs to an input of 1 to 31 bytes.

    Unlike a plain CMAC, the input is always filled to two blocks, so below 16 bytes the two differ. Raises ValueError
    on any other length of input or key.
    """
    if not 1 <= len(diversification_input) <= INPUT_BYTES_MAX:
        raise ValueError(f"the diversification input must have 1 to {INPUT_BYTES_MAX} bytes")
    if len(master_key) not in _CONSTANTS:
        raise ValueError("an AES key has 16, 24 or 32 bytes")
    parts = [_mac(bytes([each]) + diversification_input, key=master_key) for each in _CONSTANTS[len(master_key)]]
    if len(master_key) == len(_CONSTANTS) * _HALF:
        left, right = parts
        return left[:_HALF] + xor(left[_HALF:], right[:_HALF]) + right[_HALF:]
    return b"".join(parts)


def _mac(data: bytes, *, key: bytes) -> bytes:
    whole_subkey, filled_subkey = _subkeys(key)
    if len(data) == _PADDED_BYTES:
        padded, subkey = data, whole_subkey
    else:
        padded, subkey = (data + b"\x80").ljust(_PADDED_BYTES, b"\x00"), filled_subkey
    last = xor(padded[-BLOCK_BYTES:], subkey)
    return encrypt_cbc(padded[:-BLOCK_BYTES] + last, key=key)[-BLOCK_BYTES:]


def _subkeys(key: bytes) -> tuple[bytes, bytes]:
    whole = double(encrypt_block(bytes(BLOCK_BYTES), key=key))
    return whole, double(whole)
