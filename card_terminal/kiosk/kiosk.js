// Shows the terminal's state, asked for twice a second; the session lives in the process, never here.
"use strict";

const BEEP_HZ = 880, BEEP_EVERY_S = 0.4, LOW_BEEPS = 2, LIMIT_BEEPS = 3;
let alarm = "";
let sound = null;

const POLL_MS = 500;
const SILENT_AFTER = 3;
const PIN_DIGITS_MIN = 4;
const PIN_DIGITS_MAX = 12;
const SVG = "http://www.w3.org/2000/svg";

const element = (id) => document.getElementById(id);
const make = (name, values) => Object.assign(document.createElement(name), values);

let typed = "";
let longest = 0;
let shown = "";
let silent = 0;

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

function choose(action) {
  const body = { action };
  if (action === "pin") {
    body.pin = typed;
    typed = "";
  }
  send("/choose", body);
}

function pair(zh, en) {
  const words = make("span", { className: "pair" });
  words.append(make("span", { textContent: zh, lang: "zh-Hans" }), make("span", { textContent: en, lang: "en" }));
  return words;
}

function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 64 64");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

function button(content, onPress, kind) {
  const made = make("button", { type: "button", className: kind || "" });
  made.append(...content);
  made.addEventListener("click", onPress);
  return made;
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
  const output = make("output", { ariaLabel: say("密码", "PIN") });
  const press = (digit) => () => {
    typed = digit === "" ? typed.slice(0, -1) : (typed + digit).slice(0, PIN_DIGITS_MAX);
    output.textContent = "●".repeat(typed.length);
  };
  const word = (zh, en) => [zh, make("span", { textContent: en, lang: "en" })];
  const digits = [..."1234567890"].map((digit) => button([digit], press(digit)));
  const erase = button(["⌫"], press(""));
  erase.ariaLabel = say("删除", "Delete");
  const enter = button(word("确认", "OK"), () => typed.length >= PIN_DIGITS_MIN && choose("pin"), "main enter word");
  const cancel = button(word("取消", "Cancel"), () => choose("back"), "word");
  pad.append(output, ...digits.slice(0, 5), erase, enter, ...digits.slice(5), cancel);
}

function drawFacts(facts) {
  element("facts").replaceChildren(...facts.map(([label, value]) => {
    const fact = make("div", {});
    fact.append(make("dt", { textContent: label }), make("dd", { textContent: value }));
    return fact;
  }));
}

function draw(screen, name) {
  document.body.className = `tone-${screen.tone} lead-${LEAD}${screen.keypad ? " typing" : ""}${alarm ? " alarm" : ""}`;
  element("icon").setAttribute("d", ICONS[screen.icon]);
  element("title-zh").textContent = screen.zh;
  element("title-en").textContent = screen.en;
  drawFacts(screen.facts || []);
  element("lines").replaceChildren(...screen.lines.filter(Boolean).map((line) => (
    line.code ? make("p", { textContent: line.code, className: "code" }) : make("p", { textContent: line })
  )));
  drawKeypad(Boolean(screen.keypad));
  const wanted = JSON.stringify([name, screen.buttons || []]);
  if (wanted !== shown) {
    // Only when they change: a button that is made anew under a finger misses its press.
    shown = wanted;
    element("buttons").replaceChildren(...(screen.buttons || []).map(
      ([action, picture, zh, en, kind]) => button([icon(picture), pair(zh, en)], () => choose(action), kind),
    ));
  }
}

function drawFrame(view) {
  const instrument = view.instrument || { zh: "分析测试卡终端", en: "Card terminal" };
  element("instrument-zh").textContent = instrument.zh;
  element("instrument-en").textContent = instrument.en;
  element("link").textContent = view.online ? "● 在线 Online" : "○ 离线 Offline";
  element("queue").hidden = !view.queue && !view.restarts;
  element("queue").textContent = [
    view.restarts ? `↻ ${view.restarts}` : "", view.queue ? `待上传 Unsent ${view.queue}` : "",
  ].filter(Boolean).join("  ");
  element("clock").textContent = view.clock_ms
    ? new Date(view.clock_ms).toLocaleTimeString("zh-CN", { hour: "2-digit", minute: "2-digit", hour12: false }) : "";
  const words = view.instrument ? bannerOf(view) : null;
  const banner = element("banner");
  banner.hidden = words === null;
  if (words !== null) {
    const order = LEAD === "en" ? ["en", "zh"] : ["zh", "en"];
    banner.replaceChildren(...order.map((each) => make("span", { textContent: words[each] })));
  }
}

function drawCountdown(view) {
  const passing = view.countdown_s !== null && view.countdown_s !== undefined;
  longest = passing ? Math.max(longest, view.countdown_s, 1) : 0;
  document.querySelector("footer").className = passing ? "" : "still";
  element("countdown").style.width = longest ? `${(100 * view.countdown_s) / longest}%` : "0";
  element("seconds").textContent = passing ? `${view.countdown_s} s` : "";
}

/** Sound a few short tones, where the browser lets a page do so unasked (--autoplay-policy=no-user-gesture-required). */
function beep(count) {
  sound = sound || new AudioContext();
  for (let index = 0; index < count; index += 1) {
    const tone = sound.createOscillator();
    tone.frequency.value = BEEP_HZ;
    tone.connect(sound.destination);
    tone.start(sound.currentTime + index * BEEP_EVERY_S);
    tone.stop(sound.currentTime + index * BEEP_EVERY_S + BEEP_EVERY_S / 2);
  }
}

function show(view) {
  const name = screenOf(view);
  const before = alarm;
  alarm = alarmOf(view);
  if (alarm && alarm !== before) {
    beep(alarm === "limit" ? LIMIT_BEEPS : LOW_BEEPS);
  }
  drawFrame(view);
  draw(SCREENS[name](view), name);
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
    ...cards.map((card) => button([card.label], () => send("/tap", { card: card.name }))),
  );
}

async function poll() {
  try {
    const answer = await fetch("/state", { cache: "no-store" });
    show(await answer.json());
    silent = 0;
  } catch {
    silent += 1;
    if (silent >= SILENT_AFTER) {
      draw(SCREENS.lost(), "lost");
    }
  }
  setTimeout(poll, POLL_MS);
}

document.documentElement.lang = LEAD === "en" ? "en" : "zh-Hans";
poll();
