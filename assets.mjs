// Copies what the pages load from node_modules into the repository and writes down versions, licences and hashes.
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

const VENDOR = "app/static/vendor";
const TEST_DATA = "tests/data/axe";

const FILES = [
  { package: "@tabler/core", from: "dist/css/tabler.min.css", to: `${VENDOR}/tabler/tabler.min.css` },
  { package: "htmx.org", from: "dist/htmx.min.js", to: `${VENDOR}/htmx/htmx.min.js` },
  { package: "htmx.org", from: "LICENSE", to: `${VENDOR}/htmx/LICENSE` },
  { package: "@tabler/icons", from: "LICENSE", to: `${VENDOR}/icons/LICENSE` },
  { package: "axe-core", from: "axe.min.js", to: `${TEST_DATA}/axe.min.js` },
  { package: "axe-core", from: "LICENSE", to: `${TEST_DATA}/LICENSE` },
];

const ICONS = [
  "activity", "adjustments", "alert-triangle", "arrow-left", "building", "building-bank", "calendar", "cash", "chevron-right",
  "circle-check", "circle-x", "clock", "coins", "credit-card", "device-desktop", "download", "gift", "hand-stop", "heartbeat",
  "help", "history", "home", "hourglass", "inbox", "language", "layout-dashboard", "layout-grid", "list-details", "lock",
  "login", "logout", "microscope", "plug-connected", "plug-connected-x", "receipt", "report-money", "scale", "search",
  "shield-check", "user", "wallet", "wave-square",
];

const details = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
const sha256 = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");

function put(path, text) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

function symbol(name) {
  const svg = readFileSync(`node_modules/@tabler/icons/icons/outline/${name}.svg`, "utf8");
  const shapes = svg.replace(/<!--[\s\S]*?-->/g, "").match(/<svg[^>]*>([\s\S]*)<\/svg>/)[1];
  const drawn = shapes.replace(/\s*<path stroke="none" d="M0 0h24v24H0z" fill="none"\s*\/>/, "").replace(/\s+/g, " ").trim();
  return `<symbol id="${name}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round"`
    + ` stroke-linejoin="round">${drawn}</symbol>`;
}

rmSync(VENDOR, { recursive: true, force: true });
const manifest = [];
for (const file of FILES) {
  mkdirSync(dirname(file.to), { recursive: true });
  copyFileSync(`node_modules/${file.package}/${file.from}`, file.to);
  manifest.push(file);
}
// Tabler's package carries its licence as a comment only; the text it names is the MIT licence below.
put(`${VENDOR}/tabler/LICENSE`, readFileSync("node_modules/@tabler/icons/LICENSE", "utf8")
  .replace(/Copyright \(c\) .*/, "Copyright (c) 2018-2026 The Tabler Authors"));
manifest.push({ package: "@tabler/core", from: "(the MIT licence its package.json names)", to: `${VENDOR}/tabler/LICENSE` });
put(`${VENDOR}/icons/icons.svg`,
  `<svg xmlns="http://www.w3.org/2000/svg">\n${ICONS.map(symbol).join("\n")}\n</svg>\n`);
manifest.push({ package: "@tabler/icons", from: "icons/outline/*.svg", to: `${VENDOR}/icons/icons.svg` });

const entries = manifest.map(({ package: name, from, to }) => {
  const { version, license } = details(name);
  return { file: to, package: name, version, licence: license, from, sha256: sha256(to) };
});
put(`${VENDOR}/manifest.json`, `${JSON.stringify({ files: entries }, null, 1)}\n`);
