// Draws api/cluster, every five seconds and only when it has changed. Bars are SVG: their attributes are no
// inline styles, which the Content-Security-Policy forbids. All markup of a redraw is one string.
"use strict";

const EVERY_MS = 5000;
const COLOURS = 8;
const WAITING_SHOWN = 5;
const GIB = 2 ** 30, TIB = 2 ** 40;

const $ = (id) => document.getElementById(id);
const number = (value, digits = 1) => value.toLocaleString("en", { maximumFractionDigits: digits });
const size = (bytes) => (bytes >= 2 * TIB ? `${number(bytes / TIB)} TiB` : `${number(bytes / GIB)} GiB`);
const percent = (part, whole) => (whole ? `${number((100 * part) / whole, 0)} %` : "–");
const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;
const sum = (items, value) => items.reduce((total, item) => total + value(item), 0);
const wanted = () => $("filter").value.trim().toLowerCase();
const escape = (text) => String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

let cluster = null; // what was fetched last
let tag = ""; // its ETag
let shown = []; // the cards on the page, in their order
let colours = new Map(); // namespace -> class
const open = new Set(); // keys of the cards whose shares are shown
let waitingDrawn = ""; // the markup of the list of Pods that wait
let current = ""; // key of the card that Tab leads to

async function refresh() {
  try {
    const answer = await fetch("api/cluster", { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
    if (answer.status === 200) {
      tag = answer.headers.get("ETag") || "";
      cluster = await answer.json();
      draw();
    } else if (answer.status === 304) {
      drawWaiting(); // for longer by now
    } else {
      throw new Error(`the monitor answers ${answer.status}`);
    }
    say();
  } catch (problem) {
    tell(`Cannot reach the monitor (${problem.message}); what is shown may be old. Trying again.`);
  }
  setTimeout(refresh, EVERY_MS);
}

function draw() {
  const began = performance.now();
  colours = new Map(cluster.namespaces.slice(0, COLOURS).map((each, index) => [each.name, `c${index}`]));
  drawSummary();
  drawWaiting();
  drawLegend();
  drawCards();
  document.body.getBoundingClientRect(); // the time counts layout too
  document.documentElement.dataset.renderMs = (performance.now() - began).toFixed(1);
}

function drawSummary() {
  const cards = cluster.nodes.flatMap((node) => node.cards);
  const memory = sum(cards, (card) => card.memory), taken = sum(cards, (card) => card.memoryAllocated);
  const cores = sum(cards, (card) => card.cores), busy = sum(cards, (card) => card.coresAllocated);
  const largest = Math.max(0, ...cards.map((card) => card.memory - card.memoryAllocated));
  const waiting = cluster.waiting.length;
  const tiles = [
    ["Cards", number(cards.length), `on ${plural(cluster.nodes.length, "node")}`],
    ["Memory allocated", percent(taken, memory), `${size(taken)} of ${size(memory)}`],
    ["Compute reserved", percent(busy, cores), `${number(busy / 100)} of ${plural(cores / 100, "card")}`],
    ["Shares", number(sum(cards, (card) => card.shares.length)), `in ${plural(cluster.namespaces.length, "namespace")}`],
    ["Largest share that fits", size(largest), "on one card"],
    ["Waiting", number(waiting), waiting === 1 ? "Pod" : "Pods", waiting > 0],
  ];
  $("summary").innerHTML = tiles
    .map(([name, value, more, alert]) => `<div${alert ? ' class="alert"' : ""}><dt>${name}</dt><dd>${value} <small>${more}</small></dd></div>`)
    .join("");
  $("version").textContent = cluster.version;
  document.title = `${waiting ? `(${waiting} waiting) ` : ""}hami: shares of this cluster`;
}

function drawWaiting() {
  const found = cluster.waiting.filter((each) => `${each.namespace}/${each.pod}`.toLowerCase().includes(wanted()));
  $("waiting-section").hidden = found.length === 0;
  const lines = found.map((each) => {
    const next = each.next ? `<span class="next">Next: <code>${escape(each.next)}</code></span>` : "";
    return `<li>${escape(each.sentence)} <span class="tag">${escape(each.reason)}</span> <span class="quiet">for ${age(each.since)}</span>${next}</li>`;
  });
  const rest = lines.splice(WAITING_SHOWN);
  const isOpen = document.querySelector("#waiting details")?.open ? " open" : "";
  const more = rest.length ? `<li class="more"><details${isOpen}><summary>${plural(rest.length, "more Pod")}</summary><ol>${rest.join("")}</ol></details></li>` : "";
  const list = lines.join("") + more;
  if (list !== waitingDrawn) $("waiting").innerHTML = waitingDrawn = list; // else what is selected there stays so
}

function drawLegend() {
  const rest = cluster.namespaces.slice(COLOURS);
  const entries = cluster.namespaces.slice(0, COLOURS).map((each) => [colours.get(each.name), each.name, each.memory]);
  if (rest.length) entries.push(["other", plural(rest.length, "other namespace"), sum(rest, (each) => each.memory)]);
  $("legend").innerHTML = entries
    .map(([colour, name, memory]) => `<li><svg viewBox="0 0 1 1" aria-hidden="true"><rect width="1" height="1" class="${colour}"/></svg>${escape(name)} <span class="quiet">${size(memory)}</span></li>`)
    .join("");
}

function drawCards() {
  const focused = document.activeElement?.closest?.(".card")?.dataset.key;
  shown = [];
  const nodes = cluster.nodes.map((node) => drawNode(node, wanted())).join("");
  $("cards").innerHTML = nodes || `<p class="empty">${cluster.nodes.length ? "Nothing contains this text." : "No node publishes a card. `hami doctor` says why."}</p>`;
  if (!shown.some((card) => card.key === current)) current = shown[0]?.key || "";
  setCurrent(current, Boolean(focused) && focused === current);
}

function drawNode(node, wanted) {
  const whole = node.name.toLowerCase().includes(wanted);
  const cards = node.cards.filter((card) => whole || matches(card, wanted));
  if (!cards.length) return "";
  const free = Math.max(0, ...node.cards.map((card) => card.memory - card.memoryAllocated));
  return `<section class="node"><h3>${escape(node.name)} <span class="quiet">${plural(node.cards.length, "card")}, largest share that fits ${size(free)}</span></h3><ul class="cards">${cards
    .map((card) => drawCard(node, card))
    .join("")}</ul></section>`;
}

function matches(card, wanted) {
  const texts = [card.device, card.product, card.uuid, ...card.shares.flatMap((share) => [share.namespace, share.claim, ...share.pods])];
  return texts.some((text) => text.toLowerCase().includes(wanted));
}

function drawCard(node, card) {
  const key = `${node.name}/${card.device}`;
  const index = shown.push({ key, card }) - 1;
  const figures = `${number(card.memoryAllocated / GIB)} of ${size(card.memory)} · ${percent(card.coresAllocated, card.cores)}`;
  const spoken = `${card.device} on ${node.name}, ${card.product}: ${size(card.memoryAllocated)} of ${size(card.memory)} allocated, ${percent(card.coresAllocated, card.cores)} of compute, ${plural(card.shares.length, "share")}`;
  const isOpen = open.has(key);
  return `<li${isOpen ? ' class="open"' : ""}><button type="button" class="card" tabindex="-1" data-key="${escape(key)}" data-index="${index}" aria-expanded="${isOpen}" aria-label="${escape(spoken)}"><span class="names"><b>${escape(card.device)}</b> <span class="quiet">${figures}</span></span>${bar("memory", card, card.memory, (share) => share.memory)}${bar("cores", card, card.cores, (share) => share.cores)}</button>${isOpen ? table(card) : ""}</li>`;
}

function bar(kind, card, whole, value) {
  let at = 0;
  const parts = card.shares.map((share, index) => {
    const width = whole ? (1000 * value(share)) / whole : 0;
    const rect = width ? `<rect x="${at.toFixed(2)}" width="${Math.max(width - 3, 1).toFixed(2)}" height="10" class="${colours.get(share.namespace) || "other"}" data-share="${index}"/>` : "";
    at += width;
    return rect;
  });
  return `<svg class="${kind}" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true">${parts.join("")}</svg>`;
}

function table(card) {
  if (!card.shares.length) return `<div class="shares"><p class="quiet">Nothing of this card (${escape(card.uuid)}) is allocated.</p></div>`;
  const rows = card.shares.map(
    (share) => `<tr><td>${escape(share.namespace)}</td><td>${escape(share.pods.join(", ") || "nobody yet")}</td><td>${escape(share.claim)}</td><td class="number">${size(share.memory)}</td><td class="number">${percent(share.cores, 100)}</td></tr>`,
  );
  return `<div class="shares"><table><caption class="unseen">Shares of ${escape(card.device)}</caption><thead><tr><th scope="col">Namespace</th><th scope="col">Pods</th><th scope="col">Claim</th><th scope="col" class="number">Memory</th><th scope="col" class="number">Compute</th></tr></thead><tbody>${rows.join("")}</tbody></table><p class="quiet">${escape(card.product)}, ${escape(card.uuid)}</p></div>`;
}

function say() {
  const count = wanted() ? `${plural(shown.length, "card")} shown. ` : "";
  const since = cluster.staleSince && new Date(1000 * cluster.staleSince).toLocaleString();
  tell(count + (since ? `The monitor has not heard from the API server since ${since}: what happened since then is not known.` : ""));
  $("as-of").textContent = since ? "" : `Allocations as of ${new Date().toLocaleTimeString()}, refreshed every ${EVERY_MS / 1000} seconds.`;
}

/* Screen readers read each change aloud: the time is beside it, and what is said already is not said again. */
function tell(text) {
  if ($("status").textContent !== text) $("status").textContent = text;
}

function age(since) {
  const seconds = Math.max(0, Date.now() / 1000 - since);
  if (seconds < 90) return `${number(seconds, 0)} s`;
  return seconds < 5400 ? `${number(seconds / 60, 0)} min` : seconds < 172800 ? `${number(seconds / 3600, 0)} h` : `${number(seconds / 86400, 0)} days`;
}

function button(key) {
  const index = shown.findIndex((card) => card.key === key);
  return index < 0 ? null : document.querySelector(`.card[data-index="${index}"]`);
}

/* One card is in the order of Tab; the arrow keys move which. */
function setCurrent(key, focus) {
  button(current)?.setAttribute("tabindex", "-1");
  current = key;
  const chosen = button(key);
  chosen?.setAttribute("tabindex", "0");
  if (focus) chosen?.focus();
}

function move(event) {
  const from = Number(event.target.closest(".card")?.dataset.index);
  if (Number.isNaN(from)) return;
  const steps = { ArrowRight: 1, ArrowDown: perRow(), ArrowLeft: -1, ArrowUp: -perRow(), Home: -from, End: shown.length - 1 - from };
  if (!(event.key in steps)) return;
  event.preventDefault();
  const to = Math.min(shown.length - 1, Math.max(0, from + steps[event.key]));
  setCurrent(shown[to].key, true);
}

function perRow() {
  const list = document.activeElement?.closest("ul.cards");
  const columns = list ? getComputedStyle(list).gridTemplateColumns.split(" ").length : 1;
  return Math.min(columns, list ? list.children.length : 1);
}

function toggle(event) {
  const key = event.target.closest(".card")?.dataset.key;
  if (!key) return;
  if (!open.delete(key)) open.add(key);
  current = key;
  drawCards();
  button(key)?.focus();
}

function tip(event) {
  const share = event.target.dataset?.share, index = event.target.closest?.(".card")?.dataset.index;
  $("tip").hidden = share === undefined;
  if (share === undefined) return;
  const of = shown[index].card.shares[share];
  $("tip").textContent = `${of.namespace}/${of.pods.join(", ") || of.claim}\n${size(of.memory)}, ${percent(of.cores, 100)} of compute`;
  $("tip").style.left = `${Math.min(event.clientX + 14, innerWidth - 350)}px`;
  $("tip").style.top = `${event.clientY + 18}px`;
}

const THEMES = ["system", "light", "dark"];
function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("theme").textContent = `Theme: ${theme}`;
  $("theme").dataset.now = theme;
}
function nextTheme() {
  const theme = THEMES[(THEMES.indexOf($("theme").dataset.now) + 1) % THEMES.length];
  setTheme(theme);
  try { localStorage.setItem("theme", theme); } catch { /* storage may be forbidden: the choice lasts as long as the page */ }
}
function chosenTheme() {
  const asked = new URLSearchParams(location.search).get("theme");
  let kept = null;
  try { kept = localStorage.getItem("theme"); } catch { /* as above */ }
  return [asked, kept].find((theme) => THEMES.includes(theme)) || "system";
}

setTheme(chosenTheme());
$("theme").addEventListener("click", nextTheme);
$("filter").value = new URLSearchParams(location.search).get("filter") || "";
$("filter").addEventListener("input", () => { if (cluster) { draw(); say(); } });
$("cards").addEventListener("keydown", move);
$("cards").addEventListener("click", toggle);
$("cards").addEventListener("pointermove", tip);
$("cards").addEventListener("pointerleave", () => { $("tip").hidden = true; });
refresh();
