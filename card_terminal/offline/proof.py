"""A card proves itself to the terminal alone: EV2 authentication with its K4, on the chip that lies there now."""

import hmac
import secrets

from card_terminal.crypto import ev2
from card_terminal.crypto.keys import APPLICATION_NAME, KeySlot
from card_terminal.readers.apdu import ApduCard, CardGoneError

_RANDOM_BYTES = 16


def proves_itself(chip: ApduCard, *, uid: str, key: bytes) -> bool:
    """Tell whether the chip knows the offline key of the card with this UID.

    The UID of anticollision is anybody's to send, so the chip must also say it within the session that the key made.
    False also when the card was taken away: nothing was proved. One authentication, whatever comes of it.
    """
    try:
        chip.transmit(ev2.select_application(APPLICATION_NAME))
        first = chip.transmit(ev2.authenticate_first(KeySlot.OFFLINE))
        second, challenge = ev2.answer_challenge(
            first, key=key, key_no=KeySlot.OFFLINE, rnd_a=secrets.token_bytes(_RANDOM_BYTES)
        )
        session = ev2.finish_authentication(chip.transmit(second), challenge=challenge)
        said, _session = ev2.read_response(session, chip.transmit(ev2.get_card_uid(session)), mode=ev2.Mode.FULL)
    except (ev2.Ev2Error, CardGoneError):
        return False
    return hmac.compare_digest(said, bytes.fromhex(uid))
