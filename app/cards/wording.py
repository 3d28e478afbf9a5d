"""What a station's screen and the center's page say of a tap, in both languages at once."""

from app.cards.making import Stage, Trouble
from card_terminal.protocol import Words

STAGE_PERCENT = {
    Stage.VERSIONS.value: 5,
    Stage.CHALLENGE.value: 15,
    Stage.AUTHENTICATED.value: 25,
    Stage.UID.value: 35,
    Stage.WRITTEN.value: 45,
    Stage.LAST_KEY.value: 65,
    Stage.NEW_CHALLENGE.value: 75,
    Stage.NEW_KEY.value: 85,
    Stage.READ.value: 95,
    Stage.DONE.value: 100,
}
WAITING = Words(zh="请将空白芯片卡放在制卡台上", en="Put a blank chip card on the station")
WAITING_RENEWAL = Words(zh="请将该卡放在制卡台上", en="Put this card on the station")
_STAGES = {
    Stage.VERSIONS: Words(zh="正在识别芯片", en="Looking at the chip"),
    Stage.CHALLENGE: Words(zh="正在认证", en="Authenticating"),
    Stage.AUTHENTICATED: Words(zh="正在认证", en="Authenticating"),
    Stage.UID: Words(zh="正在核对芯片号", en="Proving the chip's number"),
    Stage.WRITTEN: Words(zh="正在写入，请勿移动卡片", en="Writing; do not move the card"),
    Stage.LAST_KEY: Words(zh="正在写入最后一个密钥，请勿移动卡片", en="Writing the last key; do not move the card"),
    Stage.NEW_CHALLENGE: Words(zh="正在验证新密钥", en="Proving the new key"),
    Stage.NEW_KEY: Words(zh="正在验证新密钥", en="Proving the new key"),
    Stage.READ: Words(zh="正在读取并验证", en="Reading and proving"),
    Stage.DONE: Words(zh="制卡完成，请取走卡片", en="The card is done; take it away"),
}
_TROUBLES = {
    Trouble.GONE: Words(zh="卡片移开过早，请重新放上同一张卡", en="Taken away too early: put the same card on again"),
    Trouble.NOT_A_CHIP: Words(zh="不是 NTAG 424 DNA 芯片卡", en="This is no NTAG 424 DNA chip"),
    Trouble.OTHER_CHIP: Words(
        zh="不是刚才那张卡，请放上原来的卡", en="This is another chip: put on the one begun with"
    ),
    Trouble.CHIP_TAKEN: Words(zh="该芯片已属于另一张卡", en="This chip belongs to another card"),
    Trouble.KEYS_UNKNOWN: Words(zh="芯片密钥不是本系统写入的", en="This chip has keys that were not made here"),
    Trouble.KEY_REFUSED: Words(
        zh="芯片拒绝了密钥，请联系管理员", en="The chip refused the key: call the administrator"
    ),
    Trouble.PATIENCE: Words(
        zh="认证失败次数过多，已停止以保护芯片", en="Too many failures; stopped to protect the chip"
    ),
    Trouble.SLOWED: Words(zh="芯片处于保护延迟中，请稍后再试", en="The chip is slowing us down: try again later"),
    Trouble.UID_WRONG: Words(zh="芯片号前后不一致，可能是伪造卡", en="The chip names two numbers: it may be a forgery"),
    Trouble.ANSWER_WRONG: Words(zh="芯片应答有误，请重新放上卡片", en="The chip answered wrongly: put it on again"),
    Trouble.MESSAGE_WRONG: Words(
        zh="动态消息验证失败，请重新放上卡片", en="Its dynamic message is wrong: put it on again"
    ),
}


def stage_words(stage: Stage) -> Words:
    """Say what is being done."""
    return _STAGES[stage]


def trouble_words(trouble: Trouble) -> Words:
    """Say why a tap ended, and what to do."""
    return _TROUBLES[trouble]
