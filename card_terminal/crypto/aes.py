"""The few AES operations that cards use, on top of `cryptography`."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

BLOCK_BYTES = 16
ZERO_IV = bytes(BLOCK_BYTES)


def aes_cmac(message: bytes, *, key: bytes) -> bytes:
    """Give the CMAC of 16 bytes (RFC 4493, NIST SP 800-38B) under an AES key of 16, 24 or 32 bytes."""
    code = CMAC(algorithms.AES(key))
    code.update(message)
    return code.finalize()


def encrypt_cbc(plain: bytes, *, key: bytes, iv: bytes = ZERO_IV) -> bytes:
    """Encrypt whole blocks. Raises ValueError on a part of a block: padding is the caller's."""
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return encryptor.update(plain) + encryptor.finalize()


def decrypt_cbc(encrypted: bytes, *, key: bytes, iv: bytes = ZERO_IV) -> bytes:
    """Decrypt whole blocks; padding, if any, is still there. Raises ValueError on a part of a block."""
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    return decryptor.update(encrypted) + decryptor.finalize()


def encrypt_block(block: bytes, *, key: bytes) -> bytes:
    """Encrypt exactly one block, with nothing chained. Raises ValueError on any other length."""
    if len(block) != BLOCK_BYTES:
        raise ValueError("one block is 16 bytes")
    return encrypt_cbc(block, key=key)


def pad(data: bytes) -> bytes:
    """Fill to whole blocks with 80 00 … 00 (ISO/IEC 9797-1 method 2); whole blocks get one block more."""
    marked = data + b"\x80"
    return marked + bytes(-len(marked) % BLOCK_BYTES)


def unpad(padded: bytes) -> bytes:
    """Undo `pad`. Raises ValueError when the filling is not there."""
    stripped = padded.rstrip(b"\x00")
    if not stripped.endswith(b"\x80") or len(padded) - len(stripped) >= BLOCK_BYTES:
        raise ValueError("the padding is broken")
    return stripped[:-1]


def xor(left: bytes, right: bytes) -> bytes:
    """Give the bitwise difference of two strings of the same length. Raises ValueError on any other."""
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def double(block: bytes) -> bytes:
    """Multiply a block by x in GF(2^128), as RFC 4493 makes its subkeys."""
    shifted = int.from_bytes(block) << 1
    carry = shifted >> (BLOCK_BYTES * 8)
    return ((shifted & ((1 << (BLOCK_BYTES * 8)) - 1)) ^ (0x87 * carry)).to_bytes(BLOCK_BYTES)
