"""The closed list of refusals: what a person at the instrument reads, and what she can do about it."""

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus


class RefusalCode(StrEnum):
    """Why a terminal or the server said no. New reasons are added here or nowhere."""

    # the device and its messages
    SIG_INVALID = "SIG_INVALID"
    CLOCK_SKEW = "CLOCK_SKEW"
    DEVICE_REVOKED = "DEVICE_REVOKED"
    DEVICE_PENDING = "DEVICE_PENDING"
    ENROLMENT_CODE_INVALID = "ENROLMENT_CODE_INVALID"
    MESSAGE_INVALID = "MESSAGE_INVALID"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    SEQ_GAP = "SEQ_GAP"
    APP_TOO_OLD = "APP_TOO_OLD"
    RETRY = "RETRY"
    # the card
    CARD_UNKNOWN = "CARD_UNKNOWN"
    CARD_LOST = "CARD_LOST"
    CARD_BLOCKED = "CARD_BLOCKED"
    CARD_EXPIRED = "CARD_EXPIRED"
    CARD_AUTH_FAILED = "CARD_AUTH_FAILED"
    CARD_AUTH_EXPIRED = "CARD_AUTH_EXPIRED"
    CARD_UNSUPPORTED = "CARD_UNSUPPORTED"
    CARD_IN_USE_ELSEWHERE = "CARD_IN_USE_ELSEWHERE"
    PIN_WRONG = "PIN_WRONG"
    PIN_LOCKED = "PIN_LOCKED"
    STATION_IDLE = "STATION_IDLE"
    CARD_GONE = "CARD_GONE"
    PIN_NEEDED = "PIN_NEEDED"
    CARD_DAY_LIMIT = "CARD_DAY_LIMIT"
    # the person, the money, the instrument
    NOT_QUALIFIED = "NOT_QUALIFIED"
    NO_BOOKING = "NO_BOOKING"
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    INSTRUMENT_BUSY = "INSTRUMENT_BUSY"
    SESSION_REVERSED = "SESSION_REVERSED"
    SESSION_UNKNOWN = "SESSION_UNKNOWN"
    # decided by the terminal alone
    OFFLINE_NO_LIST = "OFFLINE_NO_LIST"
    OFFLINE_LIST_EXPIRED = "OFFLINE_LIST_EXPIRED"
    OFFLINE_CARD_NOT_LISTED = "OFFLINE_CARD_NOT_LISTED"
    CARD_HOTLISTED = "CARD_HOTLISTED"
    OFFLINE_LIMIT_CARD = "OFFLINE_LIMIT_CARD"
    OFFLINE_LIMIT_TERMINAL = "OFFLINE_LIMIT_TERMINAL"
    OFFLINE_CLOCK_UNTRUSTED = "OFFLINE_CLOCK_UNTRUSTED"
    READER_DOWN = "READER_DOWN"
    EXTEND_UNANSWERED = "EXTEND_UNANSWERED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bilingual:
    """One sentence in the two languages of the screen."""

    zh: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What is said about a refusal: `number` is read out on the phone, `retry` tells whether trying again may help."""

    code: RefusalCode
    number: int
    message: Bilingual
    advice: Bilingual
    retry: bool
    http_status: int


class ProtocolError(Exception):
    """A message is refused with a code of the closed list; the text is for the log, never for a person."""

    def __init__(self, code: RefusalCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


def refusal(code: RefusalCode) -> Refusal:
    """Give the texts, the phone number and the HTTP status of a code."""
    return _REFUSALS[code]


_CALL_STAFF = Bilingual(zh="请联系机组人员", en="Please call the staff")
_TOUCH_AGAIN = Bilingual(zh="请再刷一次卡", en="Please tap the card again")
_CALL_OPERATOR = Bilingual(zh="请通知服务中心管理员", en="Please tell the service center's administrator")
_OTHER_CARD = Bilingual(zh="请使用其他卡，或联系服务中心", en="Use another card, or call the service center")
_WHEN_ONLINE = Bilingual(zh="请等待网络恢复后再刷卡", en="Please tap again when the network is back")

_CONFLICT = HTTPStatus.CONFLICT
_FORBIDDEN = HTTPStatus.FORBIDDEN

# code: (number, http status, may a retry help, sentence zh, sentence en, what to do)
_TABLE: dict[RefusalCode, tuple[int, HTTPStatus, bool, str, str, Bilingual]] = {
    RefusalCode.SIG_INVALID: (
        101,
        HTTPStatus.UNAUTHORIZED,
        False,
        "终端签名无效",
        "The terminal's signature is not valid",
        _CALL_OPERATOR,
    ),
    RefusalCode.CLOCK_SKEW: (
        102,
        _CONFLICT,
        True,
        "终端时钟不准",
        "The terminal's clock is off",
        _TOUCH_AGAIN,
    ),
    RefusalCode.DEVICE_REVOKED: (
        103,
        _FORBIDDEN,
        False,
        "本终端已停用",
        "This terminal is out of service",
        _CALL_OPERATOR,
    ),
    RefusalCode.DEVICE_PENDING: (
        104,
        _FORBIDDEN,
        True,
        "本终端等待管理员确认",
        "This terminal waits for an administrator's approval",
        _CALL_OPERATOR,
    ),
    RefusalCode.ENROLMENT_CODE_INVALID: (
        105,
        _FORBIDDEN,
        False,
        "注册码无效或已过期",
        "The enrolment code is wrong or has expired",
        Bilingual(zh="请管理员重新生成注册码", en="Ask the administrator for a new code"),
    ),
    RefusalCode.MESSAGE_INVALID: (
        106,
        HTTPStatus.BAD_REQUEST,
        False,
        "消息格式错误",
        "The message is not well formed",
        _CALL_OPERATOR,
    ),
    RefusalCode.IDEMPOTENCY_CONFLICT: (
        107,
        _CONFLICT,
        False,
        "消息编号重复",
        "This message number was used for something else",
        _TOUCH_AGAIN,
    ),
    RefusalCode.SEQ_GAP: (
        108,
        _CONFLICT,
        True,
        "事件序号不连续",
        "An event is missing before this one",
        _CALL_OPERATOR,
    ),
    RefusalCode.APP_TOO_OLD: (
        109,
        HTTPStatus.UPGRADE_REQUIRED,
        False,
        "终端程序版本过旧",
        "The terminal's program is too old",
        _CALL_OPERATOR,
    ),
    RefusalCode.RETRY: (
        110,
        HTTPStatus.TOO_MANY_REQUESTS,
        True,
        "系统繁忙，未扣费",
        "The system is busy; nothing was charged",
        Bilingual(zh="请稍后再刷卡", en="Please tap again in a moment"),
    ),
    RefusalCode.CARD_UNKNOWN: (
        201,
        _CONFLICT,
        False,
        "无法识别此卡",
        "This card is not known here",
        _OTHER_CARD,
    ),
    RefusalCode.CARD_LOST: (
        202,
        _CONFLICT,
        False,
        "此卡已挂失",
        "This card was reported lost",
        Bilingual(zh="请联系服务中心补卡", en="Ask the service center for a replacement"),
    ),
    RefusalCode.CARD_BLOCKED: (
        203,
        _CONFLICT,
        False,
        "此卡已冻结",
        "This card is blocked",
        Bilingual(zh="请联系服务中心", en="Please call the service center"),
    ),
    RefusalCode.CARD_EXPIRED: (
        204,
        _CONFLICT,
        False,
        "此卡已过期",
        "This card has expired",
        Bilingual(zh="请到服务中心换卡", en="Please renew it at the service center"),
    ),
    RefusalCode.CARD_AUTH_FAILED: (
        205,
        _CONFLICT,
        True,
        "卡片验证失败",
        "The card could not prove itself",
        _TOUCH_AGAIN,
    ),
    RefusalCode.CARD_AUTH_EXPIRED: (
        206,
        _CONFLICT,
        True,
        "等待时间过长",
        "The card was read too long ago",
        _TOUCH_AGAIN,
    ),
    RefusalCode.CARD_UNSUPPORTED: (
        207,
        _CONFLICT,
        False,
        "本终端不支持此类卡",
        "This kind of card is not accepted here",
        _OTHER_CARD,
    ),
    RefusalCode.CARD_IN_USE_ELSEWHERE: (
        208,
        _CONFLICT,
        False,
        "此卡正在其他仪器上使用",
        "This card is in use at another instrument",
        Bilingual(zh="请先在该仪器上刷卡结束", en="End the session there first"),
    ),
    RefusalCode.PIN_WRONG: (
        209,
        _CONFLICT,
        True,
        "密码错误",
        "The PIN is wrong",
        Bilingual(zh="请重新输入密码", en="Please enter the PIN again"),
    ),
    RefusalCode.PIN_LOCKED: (
        210,
        _CONFLICT,
        False,
        "密码已锁定",
        "The PIN is locked",
        Bilingual(zh="请联系服务中心重置密码", en="Ask the service center to reset it"),
    ),
    RefusalCode.STATION_IDLE: (
        211,
        _CONFLICT,
        True,
        "本制卡台没有待制的卡",
        "No card waits to be made at this station",
        Bilingual(zh="请先在卡片页面选择制卡", en="Choose a card on its page first"),
    ),
    RefusalCode.CARD_GONE: (
        212,
        _CONFLICT,
        True,
        "卡片拿开太早，未扣费",
        "The card was taken away too early; nothing was charged",
        Bilingual(zh="请将卡片贴紧读卡器，画面变化后再拿开", en="Hold the card still until the screen changes"),
    ),
    RefusalCode.PIN_NEEDED: (
        213,
        _CONFLICT,
        False,
        "已到免密上限，不能再延长",
        "No more can be reserved without the PIN",
        Bilingual(zh="结束后凭密码重新开始", en="End, and start again with the PIN"),
    ),
    RefusalCode.CARD_DAY_LIMIT: (
        214,
        _CONFLICT,
        False,
        "此卡今日额度已用完",
        "This card's limit for today is used up",
        Bilingual(zh="请明天再用，或使用其他卡", en="Come back tomorrow, or use another card"),
    ),
    RefusalCode.NOT_QUALIFIED: (
        301,
        _CONFLICT,
        False,
        "您没有此仪器的使用资格",
        "You are not qualified for this instrument",
        _CALL_STAFF,
    ),
    RefusalCode.NO_BOOKING: (
        302,
        _CONFLICT,
        False,
        "当前时段没有预约",
        "There is no booking for this time",
        Bilingual(zh="请先预约", en="Please book first"),
    ),
    RefusalCode.INSUFFICIENT_FUNDS: (
        303,
        _CONFLICT,
        False,
        "余额不足",
        "The balance is too low",
        Bilingual(zh="请先充值", en="Please top up first"),
    ),
    RefusalCode.INSTRUMENT_BUSY: (
        304,
        _CONFLICT,
        False,
        "仪器正被他人使用",
        "Somebody else is using this instrument",
        _CALL_STAFF,
    ),
    RefusalCode.SESSION_REVERSED: (
        305,
        _CONFLICT,
        False,
        "本次刷卡已撤销，未扣费",
        "This session was reversed; nothing was charged",
        _TOUCH_AGAIN,
    ),
    RefusalCode.SESSION_UNKNOWN: (
        306,
        _CONFLICT,
        False,
        "找不到此次刷卡记录",
        "This session is not known to the server",
        _CALL_STAFF,
    ),
    RefusalCode.OFFLINE_NO_LIST: (
        401,
        _CONFLICT,
        True,
        "网络中断，未扣费",
        "There is no network; nothing was charged",
        _WHEN_ONLINE,
    ),
    RefusalCode.OFFLINE_LIST_EXPIRED: (
        402,
        _CONFLICT,
        True,
        "网络中断时间过长",
        "The network has been away for too long",
        _WHEN_ONLINE,
    ),
    RefusalCode.OFFLINE_CARD_NOT_LISTED: (
        403,
        _CONFLICT,
        True,
        "此卡不能离线使用",
        "This card cannot be used without the network",
        _WHEN_ONLINE,
    ),
    RefusalCode.CARD_HOTLISTED: (
        404,
        _CONFLICT,
        False,
        "此卡已停用",
        "This card is on the stop list",
        _OTHER_CARD,
    ),
    RefusalCode.OFFLINE_LIMIT_CARD: (
        405,
        _CONFLICT,
        True,
        "此卡离线次数已满",
        "This card has used up its offline sessions",
        _WHEN_ONLINE,
    ),
    RefusalCode.OFFLINE_LIMIT_TERMINAL: (
        406,
        _CONFLICT,
        True,
        "本终端离线额度已满",
        "This terminal has used up its offline limit",
        _WHEN_ONLINE,
    ),
    RefusalCode.OFFLINE_CLOCK_UNTRUSTED: (
        407,
        _CONFLICT,
        True,
        "终端时钟不可信，不能离线使用",
        "Without a trusted clock no offline use",
        _WHEN_ONLINE,
    ),
    RefusalCode.READER_DOWN: (
        408,
        _CONFLICT,
        True,
        "读卡器故障",
        "The card reader does not answer",
        _CALL_STAFF,
    ),
    RefusalCode.EXTEND_UNANSWERED: (
        409,
        _CONFLICT,
        True,
        "服务器无应答，暂不能延长",
        "No answer: no more can be reserved now",
        Bilingual(zh="用完已预扣的时间后自动结束", en="It ends when the reserved time is used"),
    ),
}

_REFUSALS = {
    code: Refusal(
        code=code, number=number, http_status=int(status), retry=retry, message=Bilingual(zh=zh, en=en), advice=advice
    )
    for code, (number, status, retry, zh, en, advice) in _TABLE.items()
}
