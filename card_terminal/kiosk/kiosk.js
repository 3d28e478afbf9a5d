// Shows the terminal's state, asked for twice a second; the session lives in the process, never here.
"use strict";

const POLL_MS = 500;
const SILENT_AFTER = 3;

const ICONS = {
  card: "M8 18h48v30H8zM8 27h48M15 39h12M44 6c6 2 9 6 9 10M44 12c3 1 4 3 4 5",
  wait: "M32 8a24 24 0 1 1-17 7M32 20v13l9 6",
  pin: "M18 30v-8a14 14 0 0 1 28 0v8M12 30h40v26H12zM32 40v7",
  run: "M32 8a24 24 0 1 0 .01 0M26 22l16 10-16 10z",
  done: "M32 8a24 24 0 1 0 .01 0M21 33l8 8 15-17",
  stop: "M32 8a24 24 0 1 0 .01 0M23 23l18 18M41 23L23 41",
  person: "M32 8a11 11 0 1 0 .01 0M10 56c2-14 10-20 22-20s20 6 22 20",
};

const element = (id) => document.getElementById(id);
const yuan = (fen) => (fen === null || fen === undefined ? "—" : `¥${(fen / 100).toFixed(2)}`);
const clock = (seconds) => {
  const two = (number) => String(number).padStart(2, "0");
  return `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
};
const figure = (text) => {
  const span = document.createElement("span");
  span.className = "figure";
  span.textContent = text;
  return span;
};
const gap = () => Object.assign(document.createElement("span"), { className: "gap" });
const both = (words) => (words && (words.zh || words.en) ? [words.zh, words.en].filter(Boolean).join(" / ") : "");

// Each screen: tone, icon, title in both languages, at most three lines, at most three buttons.
const SCREENS = {
  enrolling: (view) => ({
    tone: "wait", icon: "wait", zh: "等待注册", en: "Waiting for enrolment",
    lines: [["请管理员核对指纹 / Compare the fingerprint:"], [view.fingerprint]],
  }),
  idle: (view) => ({
    tone: "idle", icon: "card", zh: "请刷卡开始", en: "Tap your card to start",
    lines: [[both(view.price)], [both(view.unit)], [view.help_phone ? `☎ ${view.help_phone}` : ""]],
  }),
  reading: () => ({ tone: "wait", icon: "wait", zh: "正在读卡", en: "Reading the card", lines: [] }),
  auth: () => ({ tone: "wait", icon: "wait", zh: "正在验证", en: "Checking the card", lines: [] }),
  pin: (view) => ({
    tone: "ask", icon: "pin", zh: "请输入密码", en: "Enter your PIN", keypad: true,
    lines: [[`${view.candidate.name}  ${view.candidate.card}`], [view.refusal ? both(view.refusal.message) : ""]],
  }),
  confirm: (view) => ({
    tone: "ask", icon: "person", zh: `您好，${view.candidate.name}`, en: "Starting now",
    lines: [
      [both(view.candidate.price)],
      ["预扣 / Hold for ", figure(`${view.candidate.minutes} min`), gap(), "可用 / Available ",
        figure(yuan(view.candidate.available_fen))],
    ],
    buttons: [["back", "取消", "Cancel"], ["confirm", "立即开始", "Start now", "main"]],
  }),
  authorizing: () => ({ tone: "wait", icon: "wait", zh: "正在预扣", en: "Reserving the money", lines: [] }),
  active: (view) => ({
    tone: view.session.nearly_spent ? "ask" : "run", icon: "run",
    zh: view.session.nearly_spent ? "余额即将用完" : "使用中，再次刷卡结束",
    en: view.session.nearly_spent ? "The money is nearly used up" : "In use — tap again to end",
    lines: [
      [figure(clock(view.session.elapsed_s)), gap(), "费用 / Cost ≈ ", figure(yuan(view.session.cost_fen))],
      [`预扣 / Held ${yuan(view.session.held_fen)}`, gap(), `剩余 / Left ${clock(view.session.remaining_s)}`],
      [`${view.session.name}  ${view.session.card}`, gap(), both(view.session.tariff)],
    ],
  }),
  other: (view) => ({
    tone: "stop", icon: "person", zh: "仪器正被他人使用", en: "Somebody else is using this instrument",
    lines: [[`${view.session.name}`], [both(view.refusal && view.refusal.advice)]],
    buttons: [["back", "返回", "Back", "main"]],
  }),
  ending: (view) => ({
    tone: "ask", icon: "card", zh: "即将结束", en: "Ending",
    lines: [[figure(clock(view.session.elapsed_s)), gap(), "费用 / Cost ≈ ", figure(yuan(view.session.cost_fen))]],
    buttons: [["back", "继续使用", "Keep running"], ["confirm", "立即结束", "End now", "main"]],
  }),
  receipt: (view) => ({
    tone: "done", icon: "done",
    zh: view.receipt.by_limit ? "已到预扣上限，已结束" : "已结束，谢谢",
    en: view.receipt.by_limit ? "Ended: all that was held is used" : "Ended — thank you",
    lines: view.receipt.status ? [
      ["用时 / Time ", figure(clock(view.receipt.elapsed_s)), gap(), "扣费 / Charged ",
        figure(yuan(view.receipt.amount_fen))],
      [`余额 / Balance ${yuan(view.receipt.balance_fen)}`, gap(), view.receipt.receipt || ""],
      [view.receipt.status === "parked" ? "将由工作人员核对 / Staff will check this charge" : ""],
    ] : [
      ["用时 / Time ", figure(clock(view.receipt.elapsed_s)), gap(), "≈ ", figure(yuan(view.receipt.estimate_fen))],
      ["已保存，联网后扣费 / Saved, charged when online"],
    ],
    buttons: [["back", "完成", "Done", "main"]],
  }),
  reversing: (view) => ({
    tone: "stop", icon: "stop", zh: "未扣费", en: "Not charged",
    lines: [["服务器无应答 / The server did not answer"], [both(view.refusal && view.refusal.advice)]],
  }),
  refused: (view) => ({
    tone: "stop", icon: "stop", zh: view.refusal.message.zh, en: view.refusal.message.en,
    lines: [[view.refusal.advice.zh], [view.refusal.advice.en], [`No. ${view.refusal.number}`]],
    buttons: [["back", "返回", "Back", "main"]],
  }),
};

const LOST = {
  tone: "stop", icon: "stop", zh: "终端程序正在重启", en: "The terminal is restarting",
  lines: [["使用中的记录不会丢失 / A running session is not lost"]],
};

let typed = "";
let longest = 0;
let shown = "";

async function send(path, body) {
  try {
    const answer = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    if (answer.ok) {
      show(await answer.json());
    }
  } catch {
    // The next poll tells how things are.
  }
}

function button(label, english, onPress, kind) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = kind || "";
  made.append(label);
  if (english) {
    made.append(Object.assign(document.createElement("span"), { textContent: english, lang: "en" }));
  }
  made.addEventListener("click", onPress);
  return made;
}

function choose(action) {
  const body = { action };
  if (action === "pin") {
    body.pin = typed;
    typed = "";
  }
  send("/choose", body);
}

function drawKeypad(visible) {
  const pad = element("keypad");
  if (pad.hidden === !visible && (visible ? pad.childElementCount : true)) {
    return;
  }
  pad.hidden = !visible;
  typed = "";
  pad.replaceChildren();
  if (!visible) {
    return;
  }
  const output = document.createElement("output");
  const press = (digit) => () => {
    typed = digit === "" ? typed.slice(0, -1) : (typed + digit).slice(0, 12);
    output.textContent = "●".repeat(typed.length);
  };
  pad.append(output);
  const digits = [..."1234567890"].map((digit) => button(digit, "", press(digit)));
  const enter = button("确认", "OK", () => typed.length >= 4 && choose("pin"), "main enter");
  const cancel = button("取消", "Cancel", () => choose("back"));
  pad.append(...digits.slice(0, 5), button("⌫", "", press("")), enter, ...digits.slice(5), cancel);
}

function draw(screen, state) {
  document.body.className = `tone-${screen.tone}${screen.keypad ? " typing" : ""}`;
  element("icon").setAttribute("d", ICONS[screen.icon]);
  element("title-zh").textContent = screen.zh;
  element("title-en").textContent = screen.en;
  for (const index of [0, 1, 2]) {
    element(`line-${index + 1}`).replaceChildren(...(screen.lines[index] || []));
  }
  drawKeypad(Boolean(screen.keypad));
  const wanted = JSON.stringify([state, screen.buttons || []]);
  if (wanted !== shown) {
    // Only when they change: a button that is made anew under a finger misses its press.
    shown = wanted;
    element("buttons").replaceChildren(
      ...(screen.buttons || []).map(([action, zh, en, kind]) => button(zh, en, () => choose(action), kind)),
    );
  }
}

function drawFrame(view) {
  element("instrument-zh").textContent = view.instrument ? view.instrument.zh : "分析测试卡终端";
  element("instrument-en").textContent = view.instrument ? view.instrument.en : "Card terminal";
  element("link").textContent = view.online ? "● 在线 Online" : "○ 离线 Offline";
  element("queue").hidden = !view.queue;
  element("queue").textContent = `待上传 Unsent ${view.queue}`;
  const banner = element("banner");
  banner.hidden = !view.trouble && view.online !== false;
  banner.textContent = view.trouble
    ? `${both(view.trouble.message)} (${view.trouble.number}) ${view.fingerprint}`
    : "网络中断：可以结束，暂不能开始 / No network: ending works, starting does not";
}

function drawCountdown(view) {
  if (view.countdown_s === null || view.countdown_s === undefined) {
    longest = 0;
  } else {
    longest = Math.max(longest, view.countdown_s, 1);
  }
  element("countdown").style.width = longest ? `${(100 * view.countdown_s) / longest}%` : "0";
}

function show(view) {
  drawFrame(view);
  draw(SCREENS[view.state](view), view.state);
  drawCountdown(view);
  if (view.simulated && element("cards").hidden) {
    drawCards();
  }
}

async function drawCards() {
  element("cards").hidden = false;
  const answer = await fetch("/cards");
  const cards = answer.ok ? await answer.json() : [];
  element("card-list").replaceChildren(
    ...cards.map((card) => button(card.label, "", () => send("/tap", { card: card.name }))),
  );
}

let silent = 0;

async function poll() {
  try {
    const answer = await fetch("/state", { cache: "no-store" });
    show(await answer.json());
    silent = 0;
  } catch {
    silent += 1;
    if (silent >= SILENT_AFTER) {
      draw(LOST, "lost");
    }
  }
  setTimeout(poll, POLL_MS);
}

poll();
