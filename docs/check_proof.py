"""Check proofs from the books: python check_proof.py [PUBLIC_KEY] < FILE.json (see docs/how-to/proof.md)."""

import json
import sys
from hashlib import sha256

FIELDS = {  # what stands in a line, in this order
    "document": "format id kind digest created_at xid",
    "journal": "format id kind reference text actor value_at created_at idempotency_key request_hash reverses_id xid",
    "transfer": "format id debit_account_id credit_account_id amount_fen ledger code flags pending_id timeout_s"
    " user_data_128 user_data_64 user_data_32 journal_id timestamp value_at debit_debits_pending_fen"
    " debit_debits_posted_fen debit_credits_pending_fen debit_credits_posted_fen credit_debits_pending_fen"
    " credit_debits_posted_fen credit_credits_pending_fen credit_credits_posted_fen xid",
    "seal": "format number rows_count last_xid last_kind last_id system_identifier previous_hash root sealed_at key_id",
}
given = json.load(sys.stdin)  # a list of proofs, or a document that has one, such as the evidence of a charge
proofs = given["seal"]["proofs"] if isinstance(given, dict) else given
for proof in proofs or sys.exit("NO: there is no proof in it"):
    rows = (proof["record"], *proof["blocks"])
    lines = ["|".join(row[name] for name in FIELDS[row["format"][9:-3]].split()).encode() for row in rows]
    name, expected = "root", sha256(b"\x00" + lines[0]).hexdigest()
    for side, other in proof["path"]:
        expected = sha256(b"\x01" + bytes.fromhex(other + expected if side == "left" else expected + other)).hexdigest()
    for block, line in zip(proof["blocks"], lines[1:], strict=True):
        if block[name] != expected or block["hash"] != sha256(line).hexdigest():
            sys.exit(f"NO: block {block['number']} does not hold what is said to stand in it")
        if sys.argv[1:]:
            from cryptography.hazmat.primitives.asymmetric import ed25519 as keys

            key, signature = bytes.fromhex(sys.argv[1]), bytes.fromhex(block["signature"])
            keys.Ed25519PublicKey.from_public_bytes(key).verify(signature, sha256(line).digest())
        name, expected = "previous_hash", block["hash"]
    print(lines[0].decode(), "stands in the books up to block", f"{proof['blocks'][-1]['number']}:{expected}")
    if "document" in proof:  # the text that the line has the hash of, as RFC 8785 writes it
        text = json.dumps(proof["document"], ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        if sha256(text.encode()).hexdigest() != proof["record"]["digest"]:
            sys.exit("NO: the document is not the one whose hash stands in the books")
        print("    and is the hash of", text)
