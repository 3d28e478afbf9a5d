// What each screen says: tone, icon, title, up to three figures, up to three lines, up to three buttons.
"use strict";

const LEAD = new URLSearchParams(location.search).get("lang") === "en" ? "en" : "zh";

const ICONS = {
  card: "M8 18h48v30H8zM8 27h48M15 39h12M44 6c6 2 9 6 9 10M44 12c3 1 4 3 4 5",
  wait: "M32 8a24 24 0 1 1-17 7M32 20v13l9 6",
  pin: "M18 30v-8a14 14 0 0 1 28 0v8M12 30h40v26H12zM32 40v7",
  run: "M32 8a24 24 0 1 0 .01 0M26 22l16 10-16 10z",
  low: "M32 8L60 54H4zM32 24v14M32 46v1",
  done: "M32 8a24 24 0 1 0 .01 0M21 33l8 8 15-17",
  stop: "M32 8a24 24 0 1 0 .01 0M23 23l18 18M41 23L23 41",
  person: "M32 8a11 11 0 1 0 .01 0M10 56c2-14 10-20 22-20s20 6 22 20",
  people: "M22 12a9 9 0 1 0 .01 0M4 54c1-13 8-18 18-18s17 5 18 18M44 14a8 8 0 0 1 0 16M48 37c7 1 11 6 12 17",
  phone: "M14 8h10l5 14-7 5c3 8 8 13 16 16l5-7 14 5v10c0 3-3 6-6 6C27 57 8 37 8 14c0-3 3-6 6-6z",
  key: "M22 24a14 14 0 1 0 .01 0M33 34l25-25M46 21l8 8M52 15l6 6",
  back: "M26 14L8 32l18 18M8 32h48",
};

const yuan = (fen) => (fen === null || fen === undefined ? "—" : `¥${(fen / 100).toFixed(2)}`);
const clock = (seconds) => {
  const two = (number) => String(number).padStart(2, "0");
  return `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
};
const both = (words) => {
  const order = LEAD === "en" ? ["en", "zh"] : ["zh", "en"];
  return words ? order.map((each) => words[each]).filter(Boolean).join(" / ") : "";
};
const say = (zh, en) => both({ zh, en });
const groups = (text, from, to) => text.split("-").slice(from, to).join("-");
const who = (person) => (person.name === person.card ? person.name : `${person.name} · ${person.card}`);
const phone = (view) => (view.help_phone ? `☎ ${view.help_phone}` : "");

const BACK = ["back", "back", "返回", "Back"];
const fingerprintLines = (view, todo) => [
  todo, { code: groups(view.fingerprint, 0, 4) }, { code: groups(view.fingerprint, 4) },
];
const used = (session) => [
  [say("用时", "Time"), clock(session.elapsed_s)],
  [say("费用", "Cost"), `≈ ${yuan(session.cost_fen)}`],
];

const SCREENS = {
  enrolling: (view) => ({
    tone: "wait", icon: "key", zh: "正在注册", en: "Enrolling this terminal",
    lines: fingerprintLines(view, say("本终端的指纹", "This terminal's fingerprint")),
  }),
  approval: (view) => ({
    tone: "ask", icon: "key", zh: "等待管理员核对", en: "Waiting for an administrator",
    lines: fingerprintLines(view, say("请核对指纹", "Compare the fingerprint")),
  }),
  revoked: (view) => ({
    tone: "stop", icon: "stop", zh: "本终端已停用", en: "This terminal is out of service",
    lines: [say("请联系服务中心", "Please call the service center"), phone(view)],
  }),
  reader_down: (view) => ({
    tone: "stop", icon: "low", zh: "读卡器故障", en: "Card reader down",
    lines: [say("暂时不能刷卡", "No card can be read now"), say("请联系机组人员", "Please call the staff"), phone(view)],
  }),
  idle: (view) => ({
    tone: "idle", icon: "card", zh: "请刷卡开始", en: "Tap your card to start",
    lines: [both(view.price), both(view.unit), phone(view)],
  }),
  reading: () => ({
    tone: "wait", icon: "card", zh: "正在读卡", en: "Reading the card", lines: [say("请勿移开卡片", "Keep it there")],
  }),
  auth: () => ({
    tone: "wait", icon: "wait", zh: "正在验证", en: "Checking the card", lines: [say("请勿移开卡片", "Keep it there")],
  }),
  pin: (view) => ({
    tone: "ask", icon: "pin", zh: "请输入密码", en: "Enter your PIN", keypad: true,
    lines: [view.refusal ? both(view.refusal.message) : who(view.candidate)],
  }),
  confirm: (view) => ({
    tone: "ask", icon: "person", zh: `您好，${view.candidate.name}`, en: "Starting now",
    facts: [
      view.candidate.hold_fen
        ? [say("预扣", "Reserved"), yuan(view.candidate.hold_fen)]
        : [say("预扣时长", "Reserved for"), `${view.candidate.minutes} min`],
      [view.candidate.offline ? say("离线上限", "Offline limit") : say("可用", "Available"),
        yuan(view.candidate.available_fen)],
    ],
    lines: [
      both(view.candidate.price),
      view.candidate.hold_fen ? say(`${view.candidate.minutes} 分钟，多退`, `${view.candidate.minutes} min, the rest goes back`) : "",
    ],
    buttons: [["back", "back", "取消", "Cancel"], ["confirm", "run", "立即开始", "Start now", "main"]],
  }),
  authorizing: () => ({
    tone: "wait", icon: "wait", zh: "正在预扣", en: "Reserving the money", lines: [say("请稍候", "One moment")],
  }),
  active: (view) => {
    const { session } = view;
    const low = session.nearly_spent;
    return {
      tone: low ? "ask" : "run", icon: low ? "low" : "run",
      zh: low ? "余额即将用完" : "使用中，再刷卡结束", en: low ? "The money is nearly used up" : "In use — tap again to end",
      facts: [...used(session), [say("剩余", "Left"), clock(session.remaining_s)]],
      lines: [
        view.refusal ? both(view.refusal.message) : (low ? say("再次刷卡结束", "Tap the same card to end") : ""),
        `${who(session)} · ${session.offline ? say("离线上限", "offline limit") : say("预扣", "reserved")} ${yuan(session.held_fen)}`,
        view.refusal ? both(view.refusal.advice) : both(session.tariff),
      ],
    };
  },
  other: (view) => ({
    tone: "stop", icon: "people", zh: "仪器正被他人使用", en: "Somebody else is using this instrument",
    facts: used(view.session),
    lines: [
      `${view.session.name} · ${say("使用继续", "the session goes on")}`,
      view.refusal && view.refusal.code !== "INSTRUMENT_BUSY" ? both(view.refusal.message) : "",
    ],
    buttons: [
      [...BACK, view.candidate ? "" : "main"], ["call", "phone", "联系机组", "Call staff"],
      ...(view.candidate ? [["take_over", "people", "接替使用", "Take over"]] : []),
    ],
  }),
  calling: (view) => ({
    tone: "idle", icon: "phone", zh: "请联系机组人员", en: "Please call the staff",
    facts: view.help_phone ? [[say("电话", "Phone"), view.help_phone]] : [],
    lines: [both(view.instrument), say("使用中的记录继续", "The running session goes on")],
    buttons: [[...BACK, "main"]],
  }),
  taking_over: (view) => ({
    tone: "stop", icon: "people", zh: "结束他人的使用？", en: "End their session?",
    facts: [...used(view.session)],
    lines: [
      say(`${view.session.name} 付费到此刻`, `${view.session.name} pays up to now`),
      say(`然后由您开始：${view.candidate.name}`, `then you start: ${view.candidate.name}`),
    ],
    buttons: [["back", "back", "不，返回", "No, go back"], ["confirm", "run", "结束并开始", "End it and start", "main"]],
  }),
  ending: (view) => ({
    tone: "ask", icon: "card", zh: "即将结束", en: "Ending",
    facts: used(view.session),
    lines: [say("计费到刷卡时", "You pay up to your tap")],
    buttons: [["back", "run", "继续使用", "Keep running"], ["confirm", "done", "立即结束", "End now", "main"]],
  }),
  receipt: (view) => {
    const { receipt } = view;
    const time = [say("用时", "Time"), clock(receipt.elapsed_s)];
    return {
      tone: "done", icon: "done",
      zh: receipt.by_limit ? "已到上限，已结束" : "已结束，谢谢",
      en: receipt.by_limit ? "Ended: limit reached" : "Ended — thank you",
      facts: receipt.status
        ? [time, [say("扣费", "Charged"), yuan(receipt.amount_fen)], [say("余额", "Balance"), yuan(receipt.balance_fen)]]
        : [time, [say("费用", "Cost"), `≈ ${yuan(receipt.estimate_fen)}`]],
      lines: receipt.status ? [
        receipt.status === "parked" ? say("将由工作人员核对", "Staff will check this charge") : "",
        receipt.receipt ? `${say("凭证号", "Receipt")} ${receipt.receipt}` : "",
      ] : [say("已保存，联网后扣费", "Saved, charged once online")],
      buttons: [["back", "done", "完成", "Done", "main"]],
    };
  },
  reversing: (view) => ({
    tone: "stop", icon: "stop", zh: "未扣费", en: "Not charged",
    lines: [say("服务器无应答", "The server did not answer"), both(view.refusal && view.refusal.advice)],
  }),
  refused: (view) => ({
    tone: "stop", icon: "stop", zh: view.refusal.message.zh, en: view.refusal.message.en,
    lines: [view.refusal.advice[LEAD], view.refusal.advice[LEAD === "en" ? "zh" : "en"],
      `${say("编号", "No.")} ${view.refusal.number}  ${phone(view)}`],
    buttons: [[...BACK, "main"]],
  }),
  lost: () => ({
    tone: "stop", icon: "wait", zh: "终端程序正在重启", en: "The terminal is restarting",
    lines: [say("使用中的记录不会丢失", "A running session is not lost")],
  }),
};

/** What must also be heard: at 80% of what is held, and when all of it is used; empty for nothing. */
function alarmOf(view) {
  if (view.session && view.session.nearly_spent) {
    return "low";
  }
  return view.receipt && view.receipt.by_limit ? "limit" : "";
}

/** Choose the screen: an idle terminal that cannot serve anybody says so instead of asking for a card. */
function screenOf(view) {
  if (view.state !== "idle") {
    return view.state;
  }
  const code = view.trouble && view.trouble.code;
  if (code === "DEVICE_PENDING" || code === "DEVICE_REVOKED") {
    return code === "DEVICE_PENDING" ? "approval" : "revoked";
  }
  return view.reader === "down" ? "reader_down" : "idle";
}

/** Say in one line per language what limits everybody now; null when nothing does. */
function bannerOf(view) {
  const name = screenOf(view);
  if (view.trouble && name !== "approval" && name !== "revoked") {
    return { zh: `${view.trouble.message.zh}（${view.trouble.number}）`, en: `${view.trouble.message.en} (${view.trouble.number})` };
  }
  if (view.reader === "down" && name !== "reader_down") {
    return { zh: "读卡器故障，结束请联系机组人员", en: "The reader is down; call the staff to end" };
  }
  if (view.online !== false) {
    return null;
  }
  if (view.offline && view.offline.possible) {
    return {
      zh: `网络中断：名单内 ${view.offline.cards} 张卡可用，每卡上限 ${yuan(view.offline.limit_fen)}`,
      en: `No network: ${view.offline.cards} listed cards may start, up to ${yuan(view.offline.limit_fen)} each`,
    };
  }
  return { zh: "网络中断：可以结束，暂不能开始", en: "No network: ending works, starting does not" };
}
