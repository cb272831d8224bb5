/** A message: who said it and when, what it says, its versions, and what can be done with it. */

import { h, copy, icon, ICONS, longTime, timeElement } from "./dom.js"
import { codeOf, render, safeUrl } from "./markdown.js"

const NAMES = { user: "User", assistant: "Assistant", system: "System", tool: "Tool" }
const REASONING = new Set(["reasoning", "thinking"])
const CALLS = new Set(["tool_call", "function_call", "tool_use"])
const RESULTS = new Set(["tool_result", "function_call_output"])
// What is longer is shown in part: a task of more than 100 ms would stop the page.
const LONG = 20_000

export const nameOf = (message) => NAMES[message.role]

/** The text of a content, which is a string or a list of parts. */
export function textOf(content) {
  if (typeof content === "string") return content
  return content.filter(isText).map(({ text }) => text).join("\n\n")
}

const isText = (part) => typeof part?.text === "string" && !REASONING.has(part.type)

class Message extends HTMLElement {
  #article = null
  #shown = null
  #isOpen = false

  /** `versions` are the ids of the messages that may stand in its place. */
  show(message, versions) {
    const key = JSON.stringify([message.status, message.updated_at, versions, message.role])
    if (this.#shown?.key === key && this.#shown.content === message.content) return
    if (!this.#article) this.#build(message)
    const isGrowing = message.status === "in_progress"
    if (this.#shown?.content !== message.content) this.#fill(message)
    this.#article.setAttribute("aria-busy", isGrowing)
    this.#article.dataset.status = message.status
    if (this.#shown?.key !== key) this.#equip(message, versions)
    this.#shown = { key, content: message.content, message }
  }

  get message() {
    return this.#shown.message
  }

  focusArticle() {
    this.#article.focus({ preventScroll: true })
  }

  #build(message) {
    const when = longTime(message.created_at)
    this.#article = h(
      "article",
      { class: message.role, "aria-label": `${nameOf(message)}, ${when}`, tabindex: "-1" },
      h("header", {}, h("h2", {}, nameOf(message)), timeElement(message.created_at, when)),
      h("div", { class: "content" }),
      h("footer", {}),
    )
    this.append(this.#article)
  }

  #fill(message) {
    const box = this.#article.querySelector(".content")
    const { content } = message
    if (message.role === "tool") {
      box.replaceChildren(folded("Tool result", textOf(content) || JSON.stringify(content, null, 2)))
    } else if (typeof content === "string") {
      this.#fillText(box, content)
    } else {
      box.sources = undefined
      box.replaceChildren(...content.map((part) => this.#part(part)))
    }
    const calls = message.metadata?.tool_calls
    if (Array.isArray(calls)) box.append(...calls.map((call) => this.#part({ type: "tool_call", ...call })))
  }

  #fillText(box, text) {
    if (text.length <= LONG || this.#isOpen) return render(box, text)
    render(box, text.slice(0, LONG))
    const all = () => {
      this.#isOpen = true
      render(box, text)
    }
    const count = text.length.toLocaleString()
    const more = h("button", { type: "button", class: "more", onclick: all }, `Show all ${count} characters`)
    box.append(more)
    box.sources.push("more")
  }

  #part(part) {
    const type = String(part?.type ?? "part")
    if (isText(part)) {
      const box = h("div", { class: "part" })
      this.#fillText(box, part.text)
      return box
    }
    if (REASONING.has(type)) {
      const summary = Array.isArray(part.summary) ? part.summary.map((each) => each?.text ?? "").join("\n") : ""
      return folded("Reasoning", String(part.text ?? part.thinking ?? summary), true)
    }
    if (CALLS.has(type)) {
      const name = part.name ?? part.function?.name ?? "a tool"
      const given = part.arguments ?? part.input ?? part.function?.arguments ?? ""
      return folded(`Tool call: ${name}`, pretty(given))
    }
    if (RESULTS.has(type)) return folded("Tool result", pretty(part.output ?? part.content ?? ""))
    const url = addressIn(part)
    if (url) {
      const link = h("a", { href: url, target: "_blank", rel: "noopener noreferrer nofollow", title: url, class: "image" })
      link.append(`${/image/.test(type) ? "Image" : "File"}: ${part.filename ?? url}`)
      return h("p", {}, link)
    }
    return folded(`Part: ${type}`, pretty(part))
  }

  #equip(message, versions) {
    const footer = this.#article.querySelector("footer")
    const focused = footer.contains(document.activeElement) && document.activeElement.getAttribute("aria-label")
    const act = (action, more) => () => this.#tell(action, more)
    const button = (name, action, label) =>
      h("button", { type: "button", class: "quiet", "aria-label": label ?? `${name} message`, onclick: act(action) }, name)
    footer.replaceChildren()
    if (versions.length > 1) {
      const place = versions.indexOf(message.id)
      const turn = (name, to, drawn) =>
        h(
          "button",
          {
            type: "button",
            class: "quiet icon",
            "aria-label": name,
            disabled: versions[to] === undefined,
            onclick: act("turn", { to: versions[to] }),
          },
          icon(drawn),
        )
      footer.append(
        h(
          "span",
          { class: "versions", role: "group", "aria-label": "Versions" },
          turn("Previous version", place - 1, ICONS.back),
          h("span", {}, `${place + 1}/${versions.length}`),
          turn("Next version", place + 1, ICONS.next),
        ),
      )
    }
    if (message.status === "in_progress") {
      footer.append(h("span", { class: "status" }, "Writing"))
      return
    }
    if (message.status === "incomplete") footer.append(h("span", { class: "status" }, "Ended early"))
    const actions = h("span", { class: "actions" })
    const copied = h("button", { type: "button", class: "quiet", "aria-label": "Copy message" }, "Copy")
    copied.addEventListener("click", async () => {
      await copy(textOf(message.content))
      copied.textContent = "Copied"
      setTimeout(() => (copied.textContent = "Copy"), 1500)
    })
    actions.append(copied)
    if (message.role === "user") actions.append(button("Edit", "edit"))
    if (message.role === "assistant" && message.parent_id) actions.append(button("Regenerate", "regenerate", "Regenerate answer"))
    actions.append(button("Fork", "fork", "Fork from here"), button("Delete", "delete"))
    footer.append(actions)
    if (focused) footer.querySelector(`[aria-label="${focused}"]`)?.focus()
  }

  #tell(action, more = {}) {
    const detail = { action, message: this.message, element: this, ...more }
    this.dispatchEvent(new CustomEvent("act", { bubbles: true, detail }))
  }

  /** Put a field in the place of the content. `send` is called with what is written there. */
  edit(send) {
    const content = this.#article.querySelector(".content")
    const field = h("textarea", { "aria-label": "Edited message", rows: "2", dir: "auto" })
    field.value = textOf(this.message.content)
    const close = () => {
      form.replaceWith(content)
      this.#article.classList.remove("editing")
      this.#article.querySelector('[aria-label="Edit message"]')?.focus()
    }
    const form = h(
      "form",
      { class: "edit" },
      field,
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", onclick: close }, "Cancel"),
        h("button", { class: "primary" }, "Send again"),
      ),
    )
    form.addEventListener("submit", (event) => {
      event.preventDefault()
      if (!field.value.trim()) return
      close()
      send(field.value)
    })
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close()
      else if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target === field) {
        event.preventDefault()
        form.requestSubmit()
      }
    })
    this.#article.classList.add("editing")
    content.replaceWith(form)
    field.focus()
    field.setSelectionRange(field.value.length, field.value.length)
  }
}

function pretty(value) {
  if (typeof value !== "string") return JSON.stringify(value, null, 2)
  try {
    return JSON.stringify(JSON.parse(value), null, 2)
  } catch {
    return value
  }
}

function addressIn(part) {
  const places = [part?.url, part?.image_url?.url, part?.image_url, part?.file_url]
  return places.map((place) => typeof place === "string" && safeUrl(place)).find(Boolean)
}

/** What is there for who wants to see it. It is made when it is opened. */
function folded(name, text, isProse = false) {
  const details = h("details", {}, h("summary", { dir: "auto" }, name))
  details.addEventListener(
    "toggle",
    () => {
      const cut = text.slice(0, LONG)
      const box = h("div", { class: "part" })
      if (isProse) render(box, cut)
      else box.append(codeOf(cut))
      details.append(box)
    },
    { once: true },
  )
  return details
}

customElements.define("confab-message", Message)
