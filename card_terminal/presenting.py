"""How a card is shown to the server: at once what was read, and APDU by APDU a chip that proves itself."""

from card_terminal.client import Answered, Client, NoAnswer, Outcome
from card_terminal.protocol import CardBegin, CardBeginAnswer, CardExchange, CardStep
from card_terminal.readers import Reading
from card_terminal.readers.apdu import ApduCard, CardGoneError, transmit_all

# The server asks twice; more is a server that we do not understand.
STEPS_MAX = 8


def present(client: Client, reading: Reading) -> Outcome[CardBeginAnswer]:
    """Give the server's answer to a card.

    Raises CardGoneError when its chip was taken away before it had proved itself; nothing of money was asked yet.
    """
    if reading.chip is None:
        return client.ask(CardBegin(card=reading.card), CardBeginAnswer)
    outcome = client.ask(CardBegin(card=reading.card), CardExchange)
    for _ in range(STEPS_MAX):
        if not isinstance(outcome, Answered):
            return outcome
        if outcome.answer.begun is not None:
            return Answered(answer=outcome.answer.begun)
        outcome = client.ask(_step(client, outcome.answer, chip=reading.chip), CardExchange)
    return NoAnswer()


def _step(client: Client, exchange: CardExchange, *, chip: ApduCard) -> CardStep:
    answers, gone = transmit_all(chip, [bytes.fromhex(each) for each in exchange.apdus])
    step = CardStep(
        exchange_id=exchange.exchange_id,
        step=exchange.step,
        answers=tuple(each.hex().upper() for each in answers),
        gone=gone,
    )
    if gone:
        # The server need not wait for what does not come; whether it hears so changes nothing.
        client.ask(step, CardExchange, tries=1)
        raise CardGoneError(f"after {len(answers)} of {len(exchange.apdus)} answers")
    return step
