/** Elements made of text and nodes, and small things that several parts of the page need. */

/** `h("p", {class: "hint", onclick: run}, "text", node)`. A string is always text, never markup. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value)
    else element.setAttribute(key, value === true ? "" : value)
  }
  element.append(...children.filter((child) => child !== undefined && child !== null && child !== false))
  return element
}

const SVG = "http://www.w3.org/2000/svg"

/** A drawing in the colour of the text beside it. */
export function icon(path) {
  const svg = document.createElementNS(SVG, "svg")
  svg.setAttribute("viewBox", "0 0 16 16")
  svg.setAttribute("aria-hidden", "true")
  const line = document.createElementNS(SVG, "path")
  line.setAttribute("d", path)
  svg.append(line)
  return svg
}

export const ICONS = {
  back: "M10 3 5 8l5 5",
  close: "m4 4 8 8m0-8-8 8",
  down: "M8 3v10m4-4-4 4-4-4",
  menu: "M3 8h.01M8 8h.01M13 8h.01",
  new: "M8 3v10M3 8h10",
  next: "m6 3 5 5-5 5",
  pin: "M6 2h4l-.5 4L12 9H4l2.5-3zM8 9v5",
  search: "M11 7a4 4 0 1 1-8 0 4 4 0 0 1 8 0m-1 3 3.5 3.5",
  send: "M8 13V3M4 7l4-4 4 4",
  stop: "M4.5 4.5h7v7h-7z",
}

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" })
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" })
const YEAR = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" })
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" })

/** A moment as short as it can be told: the time of today, else the day. */
export function shortTime(moment) {
  const date = new Date(moment)
  const now = new Date()
  if (date.toDateString() === now.toDateString()) return TIME.format(date)
  return (date.getFullYear() === now.getFullYear() ? DAY : YEAR).format(date)
}

/** The day, if it is not today, with the time. */
export function longTime(moment) {
  const time = TIME.format(new Date(moment))
  const short = shortTime(moment)
  return short === time ? time : `${short}, ${time}`
}

export function timeElement(moment, text = shortTime(moment)) {
  return h("time", { datetime: moment, title: FULL.format(new Date(moment)) }, text)
}

/** A random UUID, also on a page that came over plain HTTP, where `randomUUID` is not there. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  bytes[6] = (bytes[6] & 0x0f) | 0x40
  bytes[8] = (bytes[8] & 0x3f) | 0x80
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5")
}

/** Copy a text, also where the clipboard's own interface is not there (plain HTTP). */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text)
  } catch {
    const field = h("textarea", { class: "off-screen", readonly: true })
    field.value = text
    const focused = document.activeElement
    document.body.append(field)
    field.select()
    document.execCommand("copy")
    field.remove()
    focused?.focus()
  }
  say("Copied.")
}

/** Copy `text()` when pressed, and say so on the button for a moment. */
export function copyButton(name, text) {
  const button = h("button", { type: "button", "aria-label": name, class: "quiet" }, "Copy")
  button.addEventListener("click", async () => {
    await copy(text())
    button.textContent = "Copied"
    setTimeout(() => (button.textContent = "Copy"), 1500)
  })
  return button
}

/** Tell a screen reader, once. */
export function say(text) {
  const region = document.getElementById("said")
  region.textContent = ""
  // A region that gets the same text again is silent unless it was empty in between.
  setTimeout(() => (region.textContent = text), 50)
}

/** A message at the foot of the page, with something to do about it. It stays for ten seconds. */
export function toast(text, action, act) {
  const box = document.getElementById("toasts")
  const shown = h("div", { class: "toast", role: "status" }, h("span", { dir: "auto" }, text))
  const away = () => shown.remove()
  if (action) {
    shown.append(
      h("button", { type: "button", onclick: () => (away(), act()) }, action),
    )
  }
  shown.append(
    h("button", { type: "button", class: "quiet icon", "aria-label": "Dismiss", onclick: away }, icon(ICONS.close)),
  )
  box.replaceChildren(shown)
  const timer = setTimeout(away, 10_000)
  shown.addEventListener("pointerenter", () => clearTimeout(timer))
  shown.addEventListener("focusin", () => clearTimeout(timer))
}

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))
