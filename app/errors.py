"""Refusals: the closed list of what the service answers when it will not do a thing, in two languages.

Services raise `Refusal(code)` for a refusal that leaves no trace; a refusal that is itself recorded (an authorize of a
terminal) is returned. Doors turn both into HTTP here, in one table. The codes a terminal may hear stand in
`card_terminal.protocol`, because both ends of the wire share them.
"""

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any


class Code(StrEnum):
    """What the doors for people refuse."""

    VALIDATION_FAILED = "VALIDATION_FAILED"
    NOT_LOGGED_IN = "NOT_LOGGED_IN"
    LOG_IN_FAILED = "LOG_IN_FAILED"
    LOG_IN_LOCKED = "LOG_IN_LOCKED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    FORM_EXPIRED = "FORM_EXPIRED"
    USERNAME_TAKEN = "USERNAME_TAKEN"
    PASSWORD_TOO_WEAK = "PASSWORD_TOO_WEAK"  # noqa: S105 - a code, no password
    CODE_TAKEN = "CODE_TAKEN"
    SCOPE_WRONG = "SCOPE_WRONG"
    TRY_AGAIN = "TRY_AGAIN"
    INTERNAL = "INTERNAL"
    AMOUNT_TOO_SMALL = "AMOUNT_TOO_SMALL"
    AMOUNT_TOO_LARGE = "AMOUNT_TOO_LARGE"
    BALANCE_CAP_EXCEEDED = "BALANCE_CAP_EXCEEDED"
    SAME_PERSON = "SAME_PERSON"
    ALREADY_DECIDED = "ALREADY_DECIDED"
    BANK_REFERENCE_USED = "BANK_REFERENCE_USED"
    REQUEST_ID_USED = "REQUEST_ID_USED"
    TOP_UP_ENDED = "TOP_UP_ENDED"
    ACCOUNT_NOT_ACTIVE = "ACCOUNT_NOT_ACTIVE"
    PAYMENT_SERVICE_UNAVAILABLE = "PAYMENT_SERVICE_UNAVAILABLE"
    PAYMENT_SERVICE_REFUSED = "PAYMENT_SERVICE_REFUSED"
    WEBHOOK_SIGNATURE_INVALID = "WEBHOOK_SIGNATURE_INVALID"
    TARIFF_OVERLAP = "TARIFF_OVERLAP"
    TARIFF_INVALID = "TARIFF_INVALID"
    OPTION_UNKNOWN = "OPTION_UNKNOWN"
    TIMES_REVERSED = "TIMES_REVERSED"
    ENROLMENT_CODE_INVALID = "ENROLMENT_CODE_INVALID"
    FUND_SHORT = "FUND_SHORT"
    NOT_REVIEWABLE = "NOT_REVIEWABLE"
    ADJUSTMENT_TOO_LARGE = "ADJUSTMENT_TOO_LARGE"
    ADJUSTMENT_NOT_POSTABLE = "ADJUSTMENT_NOT_POSTABLE"
    NOT_CONTESTABLE = "NOT_CONTESTABLE"
    RULE_SET_INVALID = "RULE_SET_INVALID"
    RULE_SET_OVERLAP = "RULE_SET_OVERLAP"
    EXPORT_TOO_LARGE = "EXPORT_TOO_LARGE"
    NOT_SEALED = "NOT_SEALED"
    VOUCHER_UNBALANCED = "VOUCHER_UNBALANCED"
    BOOK_NOT_OPEN = "BOOK_NOT_OPEN"
    VOUCHER_NOT_REVERSIBLE = "VOUCHER_NOT_REVERSIBLE"
    VALUE_DATE_WRONG = "VALUE_DATE_WRONG"
    PERIOD_CLOSED = "PERIOD_CLOSED"
    PERIOD_NOT_CLOSABLE = "PERIOD_NOT_CLOSABLE"
    PERIOD_NOT_REOPENABLE = "PERIOD_NOT_REOPENABLE"
    BOX_REVOKED = "BOX_REVOKED"
    FINGERPRINT_DIFFERS = "FINGERPRINT_DIFFERS"
    EVENT_NOT_APPLICABLE = "EVENT_NOT_APPLICABLE"
    THRESHOLDS_WRONG = "THRESHOLDS_WRONG"
    NO_READINGS = "NO_READINGS"
    CARD_STATE_WRONG = "CARD_STATE_WRONG"
    CARD_BEING_MADE = "CARD_BEING_MADE"
    STATION_BUSY = "STATION_BUSY"
    KEY_VERSIONS_USED_UP = "KEY_VERSIONS_USED_UP"
    PIN_WRONG = "PIN_WRONG"
    PIN_LOCKED = "PIN_LOCKED"
    CARD_TAP_EXPIRED = "CARD_TAP_EXPIRED"


@dataclass(frozen=True, slots=True)
class RefusalText:
    """What a person reads: what happened, and what to do; `retry` says whether the same request may succeed later."""

    status: int
    en: str
    zh: str
    advice_en: str
    advice_zh: str
    retry: bool = False


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault
    """The service will not do this. `code` is from a closed list; `details` are values a person may see."""

    def __init__(self, code: StrEnum, /, **details: Any) -> None:
        super().__init__(code.value)
        self.code = code
        self.details = details


S = HTTPStatus
TEXTS: dict[Code, RefusalText] = {
    Code.VALIDATION_FAILED: RefusalText(
        S.UNPROCESSABLE_ENTITY,
        "Some fields are missing or wrong.",
        "有字段缺失或填写有误。",
        "Correct the fields named below; nothing was saved.",
        "请更正下面列出的字段；没有保存任何内容。",
    ),
    Code.NOT_LOGGED_IN: RefusalText(
        S.UNAUTHORIZED, "You are not logged in.", "您尚未登录。", "Log in and try again.", "请登录后重试。"
    ),
    Code.LOG_IN_FAILED: RefusalText(
        S.UNAUTHORIZED,
        "The user name or the password is wrong.",
        "用户名或密码错误。",
        "Check both and try again.",
        "请核对后重试。",
    ),
    Code.LOG_IN_LOCKED: RefusalText(
        S.TOO_MANY_REQUESTS,
        "Too many failed log-ins.",
        "登录失败次数过多。",
        "Wait 15 minutes or ask the service center.",
        "请等待 15 分钟或联系服务中心。",
        retry=True,
    ),
    Code.FORBIDDEN: RefusalText(
        S.FORBIDDEN,
        "Your role does not allow this.",
        "您的角色无权执行此操作。",
        "Ask the service center if you need it.",
        "如有需要请联系服务中心。",
    ),
    Code.NOT_FOUND: RefusalText(
        S.NOT_FOUND,
        "There is nothing at this address.",
        "此地址没有内容。",
        "Check the address or start from the home page.",
        "请核对地址或从首页开始。",
    ),
    Code.METHOD_NOT_ALLOWED: RefusalText(
        S.METHOD_NOT_ALLOWED,
        "This address does not take that method.",
        "此地址不支持该请求方法。",
        "See /api/v1/openapi.json for what it takes.",
        "支持的方法见 /api/v1/openapi.json。",
    ),
    Code.PAYLOAD_TOO_LARGE: RefusalText(
        S.REQUEST_ENTITY_TOO_LARGE,
        "The message is too large.",
        "消息过大。",
        "Send less at once; nothing was saved.",
        "请减少单次发送量；没有保存任何内容。",
    ),
    Code.UNSUPPORTED_MEDIA_TYPE: RefusalText(
        S.UNSUPPORTED_MEDIA_TYPE,
        "The message is not JSON.",
        "消息不是 JSON 格式。",
        "Send application/json.",
        "请以 application/json 发送。",
    ),
    Code.FORM_EXPIRED: RefusalText(
        S.BAD_REQUEST,
        "This form is no longer valid.",
        "此表单已失效。",
        "Open the page again and send it once more; nothing was saved.",
        "请重新打开页面后再提交；没有保存任何内容。",
    ),
    Code.USERNAME_TAKEN: RefusalText(
        S.CONFLICT,
        "This user name is already in use.",
        "该用户名已被使用。",
        "Choose another user name.",
        "请选择其他用户名。",
    ),
    Code.PASSWORD_TOO_WEAK: RefusalText(
        S.UNPROCESSABLE_ENTITY,
        "The password is too short or too common.",
        "密码过短或过于常见。",
        "Choose at least 12 characters that nobody would guess.",
        "请使用至少 12 个字符且不易被猜到的密码。",
    ),
    Code.CODE_TAKEN: RefusalText(
        S.CONFLICT,
        "This code is already in use.",
        "该编号已被使用。",
        "Choose another code.",
        "请使用其他编号。",
    ),
    Code.SCOPE_WRONG: RefusalText(
        S.UNPROCESSABLE_ENTITY,
        "This role needs its sub-center or its group, and no other scope.",
        "该角色须指定服务分中心或机组，且不得指定其他范围。",
        "Name the sub-center for a manager, the group for an operator, nothing for the others.",
        "分中心管理员请指定分中心，机组人员请指定机组，其他角色不指定。",
    ),
    Code.TRY_AGAIN: RefusalText(
        S.SERVICE_UNAVAILABLE,
        "The service is busy or restarting.",
        "服务繁忙或正在重启。",
        "Send the same request again in a few seconds; nothing was lost or doubled.",
        "请在几秒后重发同一请求；没有丢失或重复任何内容。",
        retry=True,
    ),
    Code.INTERNAL: RefusalText(
        S.INTERNAL_SERVER_ERROR,
        "Something went wrong on our side.",
        "系统内部出现错误。",
        "Nothing was saved. Please tell the service center the reference below.",
        "没有保存任何内容。请把下面的编号告知服务中心。",
        retry=True,
    ),
    Code.AMOUNT_TOO_SMALL: RefusalText(
        S.UNPROCESSABLE_ENTITY,
        "The amount is below the minimum.",
        "金额低于下限。",
        "Choose a larger amount.",
        "请选择更大的金额。",
    ),
    Code.AMOUNT_TOO_LARGE: RefusalText(
        S.UNPROCESSABLE_ENTITY,
        "The amount is above the maximum.",
        "金额超过上限。",
        "Choose a smaller amount or pay by bank transfer.",
        "请选择较小的金额或使用银行转账。",
    ),
    Code.BALANCE_CAP_EXCEEDED: RefusalText(
        S.UNPROCESSABLE_ENTITY,
        "The card account would hold more than it may.",
        "充值后账户余额将超过上限。",
        "Choose a smaller amount.",
        "请选择较小的金额。",
    ),
    Code.SAME_PERSON: RefusalText(
        S.CONFLICT,
        "The person who entered this may not approve it.",
        "录入人不能审批自己的录入。",
        "Ask a second person.",
        "请由另一人审批。",
    ),
    Code.ALREADY_DECIDED: RefusalText(
        S.CONFLICT,
        "This was decided before.",
        "此事项已处理。",
        "Look at its present state; nothing was changed.",
        "请查看其当前状态；没有更改任何内容。",
    ),
    Code.BANK_REFERENCE_USED: RefusalText(
        S.CONFLICT,
        "This bank reference is already booked.",
        "该银行流水号已入账。",
        "Check the bank statement.",
        "请核对银行对账单。",
    ),
    Code.REQUEST_ID_USED: RefusalText(
        S.CONFLICT,
        "This id was used before for another request.",
        "此编号已用于另一请求。",
        "Send a new request under a new id.",
        "请使用新的编号重新提交。",
    ),
    Code.TOP_UP_ENDED: RefusalText(
        S.CONFLICT,
        "This top-up has ended.",
        "该充值单已结束。",
        "Look at its state; start a new top-up if you still want one.",
        "请查看其状态；如仍需充值请重新发起。",
    ),
    Code.ACCOUNT_NOT_ACTIVE: RefusalText(
        S.CONFLICT,
        "The card account is frozen or closed.",
        "卡账户已冻结或注销。",
        "Ask the service center.",
        "请联系服务中心。",
    ),
    Code.PAYMENT_SERVICE_UNAVAILABLE: RefusalText(
        S.BAD_GATEWAY,
        "The payment service did not answer.",
        "支付服务没有响应。",
        "Nothing was charged twice; open the top-up again in a minute.",
        "不会重复扣款；请一分钟后再打开该充值单。",
        retry=True,
    ),
    Code.PAYMENT_SERVICE_REFUSED: RefusalText(
        S.CONFLICT,
        "The payment service refused this payment.",
        "支付服务拒绝了此次支付。",
        "Start a new top-up or pay at the counter.",
        "请重新充值或到柜台缴费。",
    ),
    Code.WEBHOOK_SIGNATURE_INVALID: RefusalText(
        S.BAD_REQUEST,
        "The signature of this delivery is not valid.",
        "投递签名无效。",
        "Check the webhook secret and the clock.",
        "请核对 webhook 密钥与时钟。",
    ),
    Code.TARIFF_OVERLAP: RefusalText(
        S.CONFLICT,
        "Another tariff holds for this instrument and customer class in that time.",
        "该仪器和客户类别在此时段已有收费标准。",
        "End the other tariff first.",
        "请先终止另一收费标准。",
    ),
    Code.TARIFF_INVALID: RefusalText(
        S.UNPROCESSABLE_ENTITY,
        "The price rules cannot be read.",
        "无法识别收费规则。",
        "See the reference of price rules.",
        "请参阅收费规则说明。",
    ),
    Code.TIMES_REVERSED: RefusalText(
        S.UNPROCESSABLE_ENTITY,
        "The end is not after the beginning.",
        "结束时间不晚于开始时间。",
        "Correct one of the two times; nothing was saved.",
        "请更正其中一个时间；没有保存任何内容。",
    ),
    Code.OPTION_UNKNOWN: RefusalText(
        S.UNPROCESSABLE_ENTITY,
        "The price of this instrument has no such option.",
        "该仪器的收费标准没有此选项。",
        "Choose one of the options named below.",
        "请选择下面列出的选项。",
    ),
    Code.ENROLMENT_CODE_INVALID: RefusalText(
        S.CONFLICT,
        "The enrolment code is wrong, used or too old.",
        "注册码错误、已使用或已过期。",
        "Ask the administrator for a new code.",
        "请向管理员索取新的注册码。",
    ),
    Code.NOT_REVIEWABLE: RefusalText(
        S.CONFLICT,
        "This charge is not open for a review.",
        "此笔费用当前不能复核。",
        "It waits for its box, was verified, or was reviewed already; look at its verdict.",
        "它正在等待采集盒数据、已核实或已复核；请查看其对账结论。",
    ),
    Code.ADJUSTMENT_TOO_LARGE: RefusalText(
        S.UNPROCESSABLE_ENTITY,
        "No more can be given back than is left of the charge.",
        "退还金额不得超过该笔费用的剩余金额。",
        "Choose an amount from one fen up to what is left; nothing was posted.",
        "请填写一分至剩余金额之间的数额；没有记账。",
    ),
    Code.ADJUSTMENT_NOT_POSTABLE: RefusalText(
        S.CONFLICT,
        "The books cannot take this adjustment now.",
        "账簿目前无法登记此项调整。",
        "What is owed to the unit does not cover it, or the card account is closed; nothing was posted.",
        "应付该单位的余额不足，或卡账户已注销；没有记账。",
    ),
    Code.NOT_CONTESTABLE: RefusalText(
        S.CONFLICT,
        "This charge cannot be contested.",
        "此笔费用不能提出异议。",
        "The window has closed, it was contested before, or it costs nothing; ask the sub-center.",
        "异议期已过、已提出过异议或未产生费用；请联系分中心。",
    ),
    Code.RULE_SET_INVALID: RefusalText(
        S.UNPROCESSABLE_ENTITY,
        "The rule set cannot be read.",
        "无法识别该补贴规则。",
        "Correct the field named below; docs/reference/subsidy-rules.md describes all of them.",
        "请更正下面列出的字段；各字段说明见补贴规则文档。",
    ),
    Code.RULE_SET_OVERLAP: RefusalText(
        S.CONFLICT,
        "Another rule set pays at once in that time.",
        "该时段已有另一即时补贴规则。",
        "End the other rule set first, or publish a later version of it.",
        "请先终止另一规则，或发布其新版本。",
    ),
    Code.EXPORT_TOO_LARGE: RefusalText(
        S.UNPROCESSABLE_ENTITY,
        "This file would have more lines than a browser should wait for.",
        "此文件行数过多，不宜在浏览器中等待生成。",
        "Choose a shorter time or another format, or let an administrator run testcard ledger export.",
        "请缩短时间范围或改用其他格式，或请管理员运行 testcard ledger export。",
    ),
    Code.NOT_SEALED: RefusalText(
        S.CONFLICT,
        "These postings are not sealed yet, so there is no proof of them.",
        "这些记账尚未封存，暂无存证。",
        "Try again in a minute; new postings are sealed within seconds.",
        "请稍后再试，新记账通常在数秒内封存。",
    ),
    Code.VOUCHER_UNBALANCED: RefusalText(
        S.UNPROCESSABLE_ENTITY,
        "Debits and credits of this voucher are not the same.",
        "该凭证借贷不平衡。",
        "Correct the amounts; nothing was saved.",
        "请更正金额；没有保存任何内容。",
    ),
    Code.BOOK_NOT_OPEN: RefusalText(
        S.UNPROCESSABLE_ENTITY,
        "One of these accounts does not exist.",
        "其中有科目或户不存在。",
        "Check the account and whose it is; nothing was saved.",
        "请核对科目及所属户；没有保存任何内容。",
    ),
    Code.VOUCHER_NOT_REVERSIBLE: RefusalText(
        S.CONFLICT,
        "This voucher cannot be reversed here.",
        "该凭证不能在此处冲销。",
        "It was reversed before, or is about to be; charges and subsidies are corrected where they were made.",
        "它已被冲销或已有待审批的冲销；刷卡费用与补贴请在其产生处更正。",
    ),
    Code.VALUE_DATE_WRONG: RefusalText(
        S.UNPROCESSABLE_ENTITY,
        "The value date lies in the future.",
        "记账日期晚于今天。",
        "Choose today or an earlier day of an open month.",
        "请选择今天或未结账月份中的较早日期。",
    ),
    Code.PERIOD_CLOSED: RefusalText(
        S.CONFLICT,
        "The month of this value date is closed.",
        "该记账日期所在月份已结账。",
        "Choose a day of an open month, or have the month reopened by two people.",
        "请选择未结账月份中的日期，或由两人办理反结账。",
    ),
    Code.PERIOD_NOT_CLOSABLE: RefusalText(
        S.CONFLICT,
        "This month cannot be closed now.",
        "该月份现在不能结账。",
        "A month is closed once, after its last day, and when no draft waits in it.",
        "月份须在月末之后、没有待审批草稿时结账，且只结账一次。",
    ),
    Code.PERIOD_NOT_REOPENABLE: RefusalText(
        S.CONFLICT,
        "This month cannot be reopened now.",
        "该月份现在不能反结账。",
        "A closed month is reopened when one person asked with a reason and another one agrees.",
        "已结账月份须由一人说明原因申请、另一人同意后方可反结账。",
    ),
    Code.BOX_REVOKED: RefusalText(
        S.CONFLICT,
        "This collector box has been revoked.",
        "该采集盒已吊销。",
        "A revoked box stays out; enrol it as a new one.",
        "吊销后不能恢复，请作为新采集盒注册。",
    ),
    Code.FINGERPRINT_DIFFERS: RefusalText(
        S.CONFLICT,
        "This is not the fingerprint of the key that came.",
        "与收到的密钥指纹不一致。",
        "Read it off the terminal's screen once more. If it really differs, revoke the terminal: another key came.",
        "请在终端屏幕上重新核对；若确实不同，请停用该终端：收到的是另一把密钥。",
    ),
    Code.EVENT_NOT_APPLICABLE: RefusalText(
        S.CONFLICT,
        "This event cannot be settled in this way.",
        "该事件不能这样处理。",
        "Its session has moved on or never was; choose another way. Nothing was changed.",
        "相关使用记录状态已变或不存在，请选择其他方式；没有更改任何内容。",
    ),
    Code.THRESHOLDS_WRONG: RefusalText(
        S.UNPROCESSABLE_ENTITY,
        "These thresholds cannot be used.",
        "该阈值不可用。",
        "Thresholds are positive, and standby lies below running; nothing was saved.",
        "阈值须为正数，且待机阈值低于运行阈值；没有保存任何内容。",
    ),
    Code.NO_READINGS: RefusalText(
        S.CONFLICT,
        "There are no readings to judge from.",
        "没有可供判断的读数。",
        "Wait until the box has measured for a day, then start again.",
        "请待采集盒测量满一天后再试。",
    ),
    Code.FUND_SHORT: RefusalText(
        S.CONFLICT,
        "The fund does not hold that much.",
        "资金池余额不足。",
        "Choose a smaller amount or wait for new money.",
        "请减少金额或等待新的拨款。",
    ),
    Code.CARD_STATE_WRONG: RefusalText(
        S.CONFLICT,
        "This cannot be done with a card in this state.",
        "卡片当前状态不允许此操作。",
        "Look at the card's page again; somebody may have changed it.",
        "请重新查看卡片页面；可能已被他人更改。",
    ),
    Code.CARD_BEING_MADE: RefusalText(
        S.CONFLICT,
        "This card is on a station already.",
        "该卡正在制卡台上制作。",
        "Finish it there, or cancel the work first.",
        "请先完成制卡，或取消制卡任务。",
    ),
    Code.STATION_BUSY: RefusalText(
        S.CONFLICT,
        "This station has another card to make, or is not in service.",
        "该制卡台有其他卡待制，或未启用。",
        "Finish or cancel that card, or choose another station.",
        "请先完成或取消该卡，或选择其他制卡台。",
    ),
    Code.KEY_VERSIONS_USED_UP: RefusalText(
        S.CONFLICT,
        "This chip has been made into a card 255 times.",
        "该芯片已制卡 255 次。",
        "Take another chip.",
        "请更换芯片。",
    ),
    Code.PIN_WRONG: RefusalText(
        S.FORBIDDEN, "The PIN is wrong.", "密码错误。", "Enter the card's present PIN.", "请输入该卡的当前密码。"
    ),
    Code.PIN_LOCKED: RefusalText(
        S.FORBIDDEN,
        "The PIN is locked after five wrong tries.",
        "密码连续五次输入错误，已锁定。",
        "The service center unlocks it; bring your identity card.",
        "请携带身份证到服务中心解锁。",
    ),
    Code.CARD_TAP_EXPIRED: RefusalText(
        S.FORBIDDEN,
        "This reading of the card has been used or is too old.",
        "本次读卡已使用或已过期。",
        "Hold the card to the phone again.",
        "请重新将卡片贴近手机。",
    ),
}
